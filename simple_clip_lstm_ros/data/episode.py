"""An episode: a recorded drive on one instruction, as a series of images with the commanded velocities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

ACTION_COLUMNS = ("linear_x", "linear_y", "angular_z")
METRES_AND_RADIANS = "m/s, m/s, rad/s"
KEY_LEVELS = "key levels"  # +-1.15 while a key is held down, unrelated to the robot's speed
ACTION_UNITS = (METRES_AND_RADIANS, KEY_LEVELS)

START = "episode_start"  # event type of the first frame; later frames have one of:
MOVE, STOP = "start_action", "stop_action"


class Frames(Protocol):
    """Reads images on demand: all, or those at ascending `indices`. Raise EpisodeError if they cannot be read."""

    def __call__(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """Return uint8 [frames, height, width, 3] in RGB, converted from the file's channel order."""


@dataclass(frozen=True, eq=False)
class Episode:
    """An episode of T frames. A value that the file does not state is None."""

    name: str
    actions: np.ndarray  # float32 [T, 3] by ACTION_COLUMNS, in `action_units`
    event_types: tuple[str, ...]  # T values: START, MOVE or STOP
    timestamps: np.ndarray | None  # float64 [T], s since the start of the episode
    language_instruction: str | None
    total_duration: float  # s
    channel_order: str | None  # of the images in the file, rgb or bgr; `frames` always returns RGB
    action_units: str | None
    frames: Frames

    def __len__(self) -> int:
        return len(self.actions)
