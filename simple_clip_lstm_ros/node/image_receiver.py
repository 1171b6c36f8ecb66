"""Receiver of camera messages: decodes them, and detects a camera that repeats one image."""

from __future__ import annotations

import array

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from simple_clip_lstm_ros.data.image_decoding import to_rgb
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.ros.conversions import to_seconds

_BLOCK = 2**16  # bytes; two live images differ in the first block


class FrozenImageDetector:
    """Measures for how long images with exactly the same bytes have arrived.

    Stamps do not reveal a frozen camera, and the robot would drive by an outdated image. Sensor noise makes consecutive
    images differ, but simulated images, or a strongly compressed view of a wall, may repeat. So this only warns and
    does not stop the robot.
    """

    def __init__(self) -> None:
        self._image: np.ndarray | None = None
        self._since = self._latest = 0.0

    def frozen_for(self, data: array.array[int] | bytes, now: float) -> float:
        """Return the seconds since the first image equal to this one, by the caller's clock.

        0.0 if this is the first, or after the clock went back. Call once per image, with its bytes. They are kept
        without a copy until different ones come, so they must not change meanwhile.
        """
        image = np.frombuffer(data, np.uint8)
        if self._image is None or now < self._latest or not _is_equal(self._image, image):
            self._image, self._since = image, now
        self._latest = now
        return now - self._since


def _is_equal(image: np.ndarray, other: np.ndarray) -> bool:
    """Compare in blocks: different images mostly differ early, and blocks fit into the cache."""
    return image.size == other.size and all(
        np.array_equal(image[at : at + _BLOCK], other[at : at + _BLOCK]) for at in range(0, image.size, _BLOCK)
    )


_FROZEN_AFTER = 2.0  # s of the same image until a warning
_THROTTLE = 5.0  # s between warnings


class ImageReceiver:
    """Decodes camera messages; counts rejected images and the seconds of a frozen image."""

    def __init__(self, node: Node) -> None:
        self.num_rejected = 0
        self.frozen_seconds = 0.0
        self._node = node
        self._frozen_detector = FrozenImageDetector()

    @property
    def is_frozen(self) -> bool:
        return self.frozen_seconds > _FROZEN_AFTER

    def decode(self, message: Image | CompressedImage) -> tuple[np.ndarray, Time] | None:
        """Return the image, uint8 [height, width, 3] RGB, and its stamp; None if it cannot be decoded.

        The stamp is the time of arrival if the message has none.
        """
        stamp, now = message.header.stamp, self._node.get_clock().now().to_msg()
        if not (stamp.sec or stamp.nanosec):
            self._node.get_logger().warning("images have no stamp; using their arrival time", once=True)
            stamp = now
        try:
            image = to_rgb(message)
        except InputError as error:
            self.reject(str(error))
            return None
        self.frozen_seconds = self._frozen_detector.frozen_for(message.data, to_seconds(now))
        if self.is_frozen:
            self._node.get_logger().warning(
                f"the camera has sent the same image for {self.frozen_seconds:.0f} s; check the camera",
                throttle_duration_sec=_THROTTLE,
            )
        return image, stamp

    def reject(self, why: str) -> None:
        """Count an unusable image and warn, with the reason."""
        self.num_rejected += 1
        self._node.get_logger().warning(f"image refused: {why}", throttle_duration_sec=_THROTTLE)
