"""The parameters of the guard: each is described once, here or in MotionSettings."""

from __future__ import annotations

from dataclasses import dataclass

from simple_clip_lstm_ros.node.motion_settings import MotionSettings
from simple_clip_lstm_ros.node.parameters import Range, parameter


@dataclass(frozen=True)
class GuardSettings(MotionSettings):
    """Values of all parameters, checked. Raises ConfigError."""

    guard_timeout: float = parameter(
        0.3, "newest command older than this, from its arrival: zero", unit="s", within=Range(0.0, 10.0), live=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_against_rate("guard_timeout")
