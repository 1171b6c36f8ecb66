"""A camera at 20 Hz that fails on request: `faulty_camera.py SWITCH --ros-args ...`."""

from __future__ import annotations

import array
import random
import sys
import time
from pathlib import Path

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from switch import Switch

from simple_clip_lstm_ros.policy.sample_images import sample_crops
from simple_clip_lstm_ros.ros import process
from simple_clip_lstm_ros.ros.camera_topic import to_image

_RATE = 20.0  # Hz
_ENCODINGS = ("rgb8", "bgr8", "mono8", "mono16", "16UC1", "yuv422", "nv12", "bayer_rggb8", "8UC3", "jpeg", "", "\x00\n")


class FaultyCamera(Node):
    def __init__(self) -> None:
        super().__init__("camera")
        self._switch = Switch(Path(_SWITCH))
        self._frames = [
            to_image(frame, self.get_clock().now().to_msg(), "camera") for frame in sample_crops(16, size=(120, 160))
        ]
        self._count = 0
        self._last = 0.0
        self._images = self.create_publisher(Image, "image_raw", qos_profile_sensor_data)
        self._timer = self.create_timer(1.0 / _RATE, self._on_time)

    def stop(self, why: str) -> None:
        self._timer.cancel()

    def _on_time(self) -> None:
        state, _, argument = self._switch.state.partition(" ")
        if state == "off" or (state == "every" and time.monotonic() < self._last + float(argument)):
            return
        for image in self._malformed(int(argument)) if state == "malformed" else [self._image(state, argument)]:
            self._images.publish(image)
        self._last = time.monotonic()

    def _image(self, state: str, argument: str) -> Image:
        self._count += state != "same-picture"
        image = self._frames[self._count % len(self._frames)]
        if state != "same-stamp":
            ahead = float(argument) if state == "ahead" else 0.0
            image.header.stamp = (self.get_clock().now() + Duration(seconds=ahead)).to_msg()
            self._stamp = image.header.stamp
        image.header.stamp = self._stamp
        return image

    def _malformed(self, count: int) -> list[Image]:
        """Of any encoding, size and step, with bytes that do not make them up; stamped now."""
        images = []
        for _ in range(count):
            height, width = random.choice([0, 120, 2**31]), random.choice([0, 160, 2**31])
            data = array.array("B", random.randbytes(random.choice([0, 1, 100, 57599])))
            image = Image(height=height, width=width, step=random.choice([0, 1, 480, 2**32 - 1]), data=data)
            image.encoding = random.choice(_ENCODINGS)
            image.header.stamp = self.get_clock().now().to_msg()
            images.append(image)
        return images


if __name__ == "__main__":
    _SWITCH = sys.argv.pop(1)
    process.run(FaultyCamera)
