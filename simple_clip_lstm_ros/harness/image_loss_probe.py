"""Measures the loss of images, for the doctor: `python -m simple_clip_lstm_ros.harness.image_loss_probe [TOPIC]`.

Without TOPIC it measures raw images from another process, with the transport of this environment; with TOPIC the images
of a camera. Prints one JSON document.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from simple_clip_lstm_ros.data.image_decoding import to_rgb
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.ros.camera_topic import CameraTopic, to_image
from simple_clip_lstm_ros.ros.conversions import to_seconds
from simple_clip_lstm_ros.ros.qos import images

_SECONDS = 2.0
_RATE = 30.0  # Hz
_SIZE = (640, 480)
_DEPTH = 100
_DISCOVERY_TIMEOUT = 10.0  # s
_FINAL_WAIT = 0.5  # s for images that are still on their way
_SEND = "send"


class _Listener(Node):
    """Receives images.

    `ages` are the ages of their stamps at arrival in s, `problem` is a decoding error.
    """

    def __init__(self, topic: str) -> None:
        super().__init__(f"doctor_{os.getpid()}")
        camera = CameraTopic.from_name(topic)
        self.ages: list[float] = []
        self.problem = ""
        # A deep queue, so that images are lost in transport only and not because this process is slow.
        self.create_subscription(camera.type, camera.name, self._on_image, images(_DEPTH))

    def _on_image(self, message: Image | CompressedImage) -> None:
        self.ages.append(time.time() - to_seconds(message.header.stamp))
        if len(self.ages) == 1:
            try:
                to_rgb(message)
            except InputError as error:
                self.problem = str(error)

    def spin_for(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Spin for `seconds` or until `until` is true."""
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            rclpy.spin_once(self, timeout_sec=0.1)


def measure_loss() -> dict[str, Any]:
    """Count the raw images from another process: `sent` and `received` within `seconds`."""
    topic = f"/simple_clip_lstm_doctor_{os.getpid()}"
    node = _Listener(topic)
    count = int(_SECONDS * _RATE)
    words = [sys.executable, "-m", "simple_clip_lstm_ros.harness.image_loss_probe", _SEND, topic, str(count)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as sender:
        node.spin_for(_DISCOVERY_TIMEOUT + _SECONDS + _FINAL_WAIT, lambda: sender.poll() is not None)
        sender.kill()
    node.spin_for(_FINAL_WAIT, lambda: len(node.ages) == count)
    size = f"{_SIZE[0]} x {_SIZE[1]}"
    return {"sent": count, "received": len(node.ages), "seconds": _SECONDS, "size": size}


def send(topic: str, count: int) -> None:
    """Publish `count` images at 30 Hz on `topic` once there is a subscriber."""
    node = Node(f"doctor_camera_{os.getpid()}")
    publisher = node.create_publisher(Image, topic, qos_profile_sensor_data)
    frame = np.zeros((_SIZE[1], _SIZE[0], 3), np.uint8)
    begin = time.monotonic()
    while not publisher.get_subscription_count() and time.monotonic() < begin + _DISCOVERY_TIMEOUT:
        time.sleep(0.05)
    time.sleep(0.2)  # the subscriber may discover this publisher a little later
    begin = time.monotonic()
    for number in range(count):
        publisher.publish(to_image(frame, node.get_clock().now().to_msg(), "camera"))
        time.sleep(max(0.0, begin + (number + 1) / _RATE - time.monotonic()))
    time.sleep(_FINAL_WAIT)  # the shared memory is removed with this process


def measure_camera(topic: str) -> dict[str, Any]:
    """Measure rate and age (s) of a camera's images, for two seconds from the first.

    `problem` says why they cannot be decoded.
    """
    node = _Listener(topic)
    node.spin_for(_DISCOVERY_TIMEOUT / 2, lambda: bool(node.ages))
    if node.ages:
        node.spin_for(_SECONDS)
    received = len(node.ages)
    return {
        "received": received,
        "seconds": _SECONDS if received else _DISCOVERY_TIMEOUT / 2,
        "rate": received / _SECONDS,
        "age": float(np.median(node.ages)) if received else None,
        "problem": node.problem,
    }


def main(words: list[str]) -> None:
    rclpy.init()
    try:
        if words[:1] == [_SEND]:
            send(words[1], int(words[2]))
        else:
            print(json.dumps(measure_camera(words[0]) if words else measure_loss()))
    finally:
        rclpy.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
