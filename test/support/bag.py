"""Bags for tests, written by rosbags from a list of what happened."""

from __future__ import annotations

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_HUMBLE)
IMAGE, COMMAND, INSTRUCTION = "/camera/image_raw", "/cmd_vel", "/instruction"
EPOCH = 1_700_000_000  # s: when bags begin
HEIGHT, WIDTH = 4, 6


def picture(level):
    """One colour, and not grey: the order of channels shows."""
    return np.full((HEIGHT, WIDTH, 3), (level, level // 2, 0), np.uint8)


def _message(name, **fields):
    return STORE.types[name](**fields)


def _header(stamp):
    nanoseconds = round(stamp * 1e9)
    time = _message("builtin_interfaces/msg/Time", sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
    return _message("std_msgs/msg/Header", stamp=time, frame_id="camera")


def image(rgb, stamp=0.0, encoding="rgb8"):
    pixels = rgb if encoding == "rgb8" else rgb[..., ::-1]
    size = {"height": rgb.shape[0], "width": rgb.shape[1], "step": rgb.shape[1] * 3}
    data = np.frombuffer(pixels.tobytes(), np.uint8)
    kind = {"encoding": encoding, "is_bigendian": 0}
    return _message("sensor_msgs/msg/Image", header=_header(stamp), data=data, **size, **kind)


def compressed(rgb, stamp=0.0, form=".png"):
    data = cv2.imencode(form, rgb[..., ::-1])[1].ravel()
    return _message("sensor_msgs/msg/CompressedImage", header=_header(stamp), format=form[1:], data=data)


def twist(x, y=0.0, z=0.0):
    linear, angular = (
        _message("geometry_msgs/msg/Vector3", x=float(a), y=float(b), z=float(c)) for a, b, c in ((x, y, 7), (8, 9, z))
    )
    return _message("geometry_msgs/msg/Twist", linear=linear, angular=angular)


def twist_stamped(*velocity):
    return _message("geometry_msgs/msg/TwistStamped", header=_header(0.0), twist=twist(*velocity))


def text(data):
    return _message("std_msgs/msg/String", data=data)


def write_bag(path, happened, storage="mcap"):
    """`happened`: (s after EPOCH, topic, message), in any order; returns the bag's folder."""
    plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[storage]
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for seconds, topic, message in happened:
            kind = message.__msgtype__
            if (topic, kind) not in connections:
                connections[topic, kind] = writer.add_connection(topic, kind, typestore=STORE)
            data = STORE.serialize_cdr(message, kind)
            writer.write(connections[topic, kind], EPOCH * 10**9 + round(seconds * 1e9), data)
    return path
