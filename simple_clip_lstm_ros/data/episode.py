"""A drive on one instruction as it was recorded: an image and the velocity that was commanded then, time and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

ACTION_COLUMNS = ("linear_x", "linear_y", "angular_z")
METRES_AND_RADIANS = "m/s, m/s, rad/s"
KEY_LEVELS = "key levels"  # +-1.15 for a key held down, whatever the robot made of it
ACTION_UNITS = (METRES_AND_RADIANS, KEY_LEVELS)

START = "episode_start"  # the type of the first event; then one of
MOVE, STOP = "start_action", "stop_action"


class Frames(Protocol):
    """Reads images when they are asked for: all, or those at some rising indices. Raises EpisodeError."""

    def __call__(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """uint8 [frames, height, width, 3] in RGB, whatever the file holds."""


@dataclass(frozen=True, eq=False)
class Episode:
    """T frames. What a file does not state is None."""

    name: str
    actions: np.ndarray  # float32 [T, 3] by ACTION_COLUMNS, in `action_units`
    event_types: tuple[str, ...]  # T of START, MOVE, STOP
    timestamps: np.ndarray | None  # float64 [T], s from the episode's beginning
    language_instruction: str | None
    total_duration: float  # s
    channel_order: str | None  # of the file's images, rgb or bgr: those of `frames` are RGB
    action_units: str | None
    frames: Frames

    def __len__(self) -> int:
        return len(self.actions)
