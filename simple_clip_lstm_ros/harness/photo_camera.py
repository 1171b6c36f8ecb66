"""A camera node that pans over real photographs: `python -m simple_clip_lstm_ros.harness.photo_camera`.

It publishes 10 images a second of `width` x `height` (parameters), raw and, if there are subscribers, as JPEG.
"""

from __future__ import annotations

import array

import cv2
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from simple_clip_lstm_ros.data.image_decoding import to_jpeg
from simple_clip_lstm_ros.policy.sample_images import iter_pan
from simple_clip_lstm_ros.ros import process
from simple_clip_lstm_ros.ros.camera_topic import to_image

_RATE = 10.0  # Hz


class PhotoCamera(Node):
    """Publishes images that pan over photographs at 10 Hz."""

    def __init__(self) -> None:
        super().__init__("photo_camera")
        self._size = (self.declare_parameter("width", 320).value, self.declare_parameter("height", 240).value)
        self._frames = iter_pan()
        self._images = self.create_publisher(Image, "image_raw", qos_profile_sensor_data)
        self._compressed = self.create_publisher(CompressedImage, "image_raw/compressed", qos_profile_sensor_data)
        self._timer = self.create_timer(1.0 / _RATE, self._publish)

    def _publish(self) -> None:
        # The photographs are smaller than the images of many cameras.
        frame = cv2.resize(next(self._frames), self._size)
        image = to_image(frame, self.get_clock().now().to_msg(), "camera")
        self._images.publish(image)
        if self._compressed.get_subscription_count():
            data = array.array("B", to_jpeg(frame))
            self._compressed.publish(CompressedImage(header=image.header, format="jpeg", data=data))

    def stop(self, why: str) -> None:
        self._timer.cancel()


if __name__ == "__main__":
    process.run(PhotoCamera)
