"""From camera messages to frames: decode them, and detect a camera that repeats one image."""

from __future__ import annotations

import array

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from simple_clip_lstm_ros.data.image_decoding import to_rgb
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.ros.conversions import to_seconds

_BLOCK = 2**16  # bytes; two live pictures differ in the first


class FrozenImageDetector:
    """For how long images with exactly the same bytes have been arriving.

    Age by stamp cannot tell such a camera from a live one, and the robot would drive on by a picture of the past. A
    sensor's noise makes each picture another; a simulator's, or a strongly compressed one of a wall, may well stay
    the same. So this is a reason to warn, and none to stop.
    """

    def __init__(self) -> None:
        self._seen: np.ndarray | None = None
        self._since = self._latest = 0.0

    def seconds(self, data: array.array[int] | bytes, now: float) -> float:
        """Since the first image like this one, by the caller's clock; 0.0 if this is it, or the clock went back.

        Called once for each image with its bytes, which are kept, not copied, until others come, and must stay as they
        are meanwhile.
        """
        image = np.frombuffer(data, np.uint8)
        if self._seen is None or now < self._latest or not _is_equal(self._seen, image):
            self._seen, self._since = image, now
        self._latest = now
        return now - self._since


def _is_equal(one: np.ndarray, other: np.ndarray) -> bool:
    """In blocks, since what differs mostly does so early, and blocks stay in the cache."""
    return one.size == other.size and all(
        np.array_equal(one[at : at + _BLOCK], other[at : at + _BLOCK]) for at in range(0, one.size, _BLOCK)
    )


_FROZEN_AFTER = 2.0  # s of the very same picture before that is worth a warning
_THROTTLE = 5.0  # s between warnings


class ImageReceiver:
    """Reads messages. `refused` counts those of no use; `still` tells for how many seconds nothing moved."""

    def __init__(self, node: Node) -> None:
        self.refused = 0
        self.frozen_seconds = 0.0
        self._node = node
        self._freeze = FrozenImageDetector()

    @property
    def is_frozen(self) -> bool:
        return self.frozen_seconds > _FROZEN_AFTER

    def read(self, message: Image | CompressedImage) -> tuple[np.ndarray, Time] | None:
        """uint8 [height, width, 3] in RGB and its stamp, or that of its arrival if it has none; None if unreadable."""
        stamp, now = message.header.stamp, self._node.get_clock().now().to_msg()
        if not (stamp.sec or stamp.nanosec):
            self._node.get_logger().warning("images bear no stamp; their arrival counts instead", once=True)
            stamp = now
        try:
            image = to_rgb(message)
        except InputError as error:
            self.refuse(str(error))
            return None
        self.frozen_seconds = self._freeze.seconds(message.data, to_seconds(now))
        if self.is_frozen:
            self._node.get_logger().warning(
                f"the camera has sent the very same picture for {self.frozen_seconds:.0f} s; does it hang?",
                throttle_duration_sec=_THROTTLE,
            )
        return image, stamp

    def refuse(self, why: str) -> None:
        self.refused += 1
        self._node.get_logger().warning(f"image refused: {why}", throttle_duration_sec=_THROTTLE)
