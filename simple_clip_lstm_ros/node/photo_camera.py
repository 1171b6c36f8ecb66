"""A camera that drives over real photographs, as a process: `python -m simple_clip_lstm_ros.node.photo_camera`."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from simple_clip_lstm_ros.node import process
from simple_clip_lstm_ros.node.messages import to_image
from simple_clip_lstm_ros.policy.photographs import pan

_RATE = 10.0  # Hz


class PhotoCamera(Node):
    def __init__(self) -> None:
        super().__init__("photo_camera")
        self._frames = pan()
        self._images = self.create_publisher(Image, "image_raw", qos_profile_sensor_data)
        self._timer = self.create_timer(1.0 / _RATE, self._publish)

    def _publish(self) -> None:
        self._images.publish(to_image(next(self._frames), self.get_clock().now().to_msg(), "camera"))

    def stop(self, why: str) -> None:
        self._timer.cancel()


if __name__ == "__main__":
    process.run(PhotoCamera)
