"""The parameters of the recorder of bags, each described once."""

from __future__ import annotations

from dataclasses import dataclass

from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.node.parameters import Parameters, Range, check_topic, parameter


@dataclass(frozen=True)
class BagSettings(Parameters):
    """Values of all parameters, checked. Raises ConfigError."""

    folder: str = parameter("", "where the bags go; it must exist")
    last: float = parameter(
        0.0,
        "keep only so much, in memory, and write it when the robot is stopped; 0: write the whole drive",
        unit="s",
        within="0 or more",
    )
    memory_mb: float = parameter(
        128.0,
        "for what is kept, or waits for the disk; twice that while a bag is written",
        unit="MB",
        within=Range(0.0, 100_000.0),
    )
    jpeg_quality: float = parameter(85.0, "of images that the camera sends raw", within=Range(0.0, 100.0))
    image_topic: str = parameter("image_raw", "camera topic")
    image_transport: str = parameter("raw", "compressed subscribes to <image_topic>/compressed", "raw", "compressed")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_topic("image_topic", self.image_topic)
        if not 0.0 <= self.last <= 3600.0:
            raise ConfigError(f"last must be from 0 to 3600 s, not {self.last:g}")
