"""The eye: from camera messages to frames that can be used, and what there is to say of those that cannot."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from simple_clip_lstm_ros.data.images import to_rgb
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.node.frozen import Freeze
from simple_clip_lstm_ros.node.messages import to_seconds

_PATIENCE = 2.0  # s of the very same picture before that is worth a warning
_THROTTLE = 5.0  # s between warnings


class Eye:
    """Reads messages. `refused` counts those of no use; `still` tells for how many seconds nothing moved."""

    def __init__(self, node: Node) -> None:
        self.refused = 0
        self.still = 0.0
        self._node = node
        self._freeze = Freeze()

    @property
    def is_frozen(self) -> bool:
        return self.still > _PATIENCE

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
        self.still = self._freeze.seconds(message.data, to_seconds(now))
        if self.is_frozen:
            self._node.get_logger().warning(
                f"the camera has sent the very same picture for {self.still:.0f} s; does it hang?",
                throttle_duration_sec=_THROTTLE,
            )
        return image, stamp

    def refuse(self, why: str) -> None:
        self.refused += 1
        self._node.get_logger().warning(f"image refused: {why}", throttle_duration_sec=_THROTTLE)
