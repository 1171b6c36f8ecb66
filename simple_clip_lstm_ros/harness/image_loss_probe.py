"""How many raw images get through, and how a camera's images arrive: `python -m ...node.image_loss [TOPIC]`.

Without TOPIC: numbered images of another process, with the transport that this environment sets. Prints one JSON
document; for the doctor.
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
_DISCOVERY = 10.0  # s
_LAST = 0.5  # s for what is still on its way
_SEND = "send"


class _Listener(Node):
    """Counts images; `ages` are those of their stamps at arrival, in seconds."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"doctor_{os.getpid()}")
        camera = CameraTopic.from_name(topic)
        self.ages: list[float] = []
        self.problem = ""
        # Deep, so that what is lost was lost on the way and not for want of a listener's time.
        self.create_subscription(camera.type, camera.name, self._take, images(_DEPTH))

    def _take(self, message: Image | CompressedImage) -> None:
        self.ages.append(time.time() - to_seconds(message.header.stamp))
        if len(self.ages) == 1:
            try:
                to_rgb(message)
            except InputError as error:
                self.problem = str(error)

    def listen(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> None:
        """For so long, or until there is enough."""
        end = time.monotonic() + seconds
        while not enough() and time.monotonic() < end:
            rclpy.spin_once(self, timeout_sec=0.1)


def measure_loss() -> dict[str, Any]:
    """`sent` and `received` numbers of images, within `seconds`."""
    topic = f"/simple_clip_lstm_doctor_{os.getpid()}"
    node = _Listener(topic)
    count = int(_SECONDS * _RATE)
    words = [sys.executable, "-m", "simple_clip_lstm_ros.harness.image_loss_probe", _SEND, topic, str(count)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as sender:
        node.listen(_DISCOVERY + _SECONDS + _LAST, lambda: sender.poll() is not None)
        sender.kill()
    node.listen(_LAST, lambda: len(node.ages) == count)
    size = f"{_SIZE[0]} x {_SIZE[1]}"
    return {"sent": count, "received": len(node.ages), "seconds": _SECONDS, "size": size}


def send(topic: str, count: int) -> None:
    """As a camera does; as soon as somebody listens."""
    node = Node(f"doctor_camera_{os.getpid()}")
    images = node.create_publisher(Image, topic, qos_profile_sensor_data)
    frame = np.zeros((_SIZE[1], _SIZE[0], 3), np.uint8)
    begin = time.monotonic()
    while not images.get_subscription_count() and time.monotonic() < begin + _DISCOVERY:
        time.sleep(0.05)
    time.sleep(0.2)  # the other side may know of this one a little later
    begin = time.monotonic()
    for number in range(count):
        images.publish(to_image(frame, node.get_clock().now().to_msg(), "camera"))
        time.sleep(max(0.0, begin + (number + 1) / _RATE - time.monotonic()))
    time.sleep(_LAST)  # its shared memory ends with it


def listen(topic: str) -> dict[str, Any]:
    """The images of a camera for two seconds, counted from the first; `problem` if they cannot be read."""
    node = _Listener(topic)
    node.listen(_DISCOVERY / 2, lambda: bool(node.ages))
    if node.ages:
        node.listen(_SECONDS)
    received = len(node.ages)
    return {
        "received": received,
        "seconds": _SECONDS if received else _DISCOVERY / 2,
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
            print(json.dumps(listen(words[0]) if words else measure_loss()))
    finally:
        rclpy.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
