"""The parameters of the player of recordings, each described once."""

from __future__ import annotations

from dataclasses import dataclass

from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.node.parameters import Parameters, Range, parameter


@dataclass(frozen=True)
class PlayerSettings(Parameters):
    """Values of all parameters, checked. Raises ConfigError."""

    bag: str = parameter("", "rosbag2 (SQLite or MCAP) to play: its folder or its file")
    out: str = parameter("replay", "folder for pictures and replay.json; it is made")
    rate: float = parameter(1.0, "times as fast as it was recorded", within=Range(0.0, 100.0))
    instruction: str = parameter("", "in place of those that were given")
    image_topic: str = parameter("", "in the bag, if it has several cameras")
    command_topic: str = parameter("", "in the bag, to compare with; empty: cmd_vel_raw, else cmd_vel")
    instruction_topic: str = parameter("", "in the bag, if it has several")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.bag:
            raise ConfigError("bag is empty; set it to the folder or file of a recording")
