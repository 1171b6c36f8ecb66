"""Camera topics (name, type, parameters) and conversion of images to messages."""

from __future__ import annotations

import array
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image

from simple_clip_lstm_ros.ros.parameters import Parameters, check_topic, parameter

_COMPRESSED = "/compressed"


class CameraTopic(NamedTuple):
    """Name and message type of a topic."""

    name: str
    type: type[Image] | type[CompressedImage]

    @classmethod
    def from_name(cls, topic: str) -> CameraTopic:
        """Return the topic of this name; its images are compressed if it ends in /compressed."""
        return cls(topic, CompressedImage if topic.endswith(_COMPRESSED) else Image)


@dataclass(frozen=True)
class CameraParameters(Parameters):
    """Validated name and transport of a camera. Raise ConfigError for an invalid value."""

    image_topic: str = parameter("image_raw", "camera topic")
    image_transport: str = parameter("raw", "compressed subscribes to <image_topic>/compressed", "raw", "compressed")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_topic("image_topic", self.image_topic)

    @property
    def compressed_topic(self) -> str:
        """Return the topic on which image_transport publishes this camera's compressed images."""
        return f"{self.image_topic}{_COMPRESSED}"

    @property
    def camera(self) -> CameraTopic:
        """Return the topic of the chosen transport."""
        return CameraTopic.from_name(self.image_topic if self.image_transport == "raw" else self.compressed_topic)


def split_transport(topic: str) -> tuple[str, str]:
    """Return camera name and transport of a topic: `a/compressed` gives (`a`, `compressed`)."""
    is_compressed = topic.endswith(_COMPRESSED)
    return topic.removesuffix(_COMPRESSED), "compressed" if is_compressed else "raw"


def to_image(rgb: np.ndarray, stamp: Time, frame_id: str) -> Image:
    """Convert a uint8 [height, width, 3] RGB image to an rgb8 message."""
    height, width, _ = rgb.shape
    message = Image(height=height, width=width, encoding="rgb8", step=width * 3)
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    # rclpy copies an array.array at once, but checks any other sequence item by item, 1000 times slower.
    message.data = array.array("B", rgb.tobytes())
    return message
