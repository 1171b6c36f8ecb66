"""Turn the messages of a drive, from a bag or live, into the frames of its episodes.

The action of an image is the newest command before it; images before the first command are skipped. With an instruction
topic, each non-blank instruction that differs from the previous one starts an episode, a blank one ends it, and images
outside episodes are skipped; without, the whole drive is one episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.data.image_decoding import to_rgb
from simple_clip_lstm_ros.errors import InputError

_EARLY = 0.1  # share of a period of `rate`: accept a frame from a camera that is slightly early


@dataclass(frozen=True)
class DriveTopics:
    image: str
    command: str
    instruction: str | None = None


@dataclass(frozen=True)
class Sample:
    """A frame of the episode with this `number`."""

    number: int
    instruction: str | None
    frame: np.ndarray  # uint8 [height, width, 3] in RGB
    action: tuple[float, float, float]
    stamp: float  # s: the image's own, or the receive time if it has none


class EpisodeSegmenter:
    """Splits a recording into episodes, message by message."""

    def __init__(self, rate: float | None, *, instructed: bool) -> None:
        self.rejected, self.first_error = 0, ""  # images that cannot be decoded
        self._rate, self._needs_instruction = rate, instructed
        self._instruction: str | None = None
        self._number = 0 if instructed else 1
        self._action: tuple[float, float, float] | None = None
        self._begin = self._next = 0

    def set_instruction(self, text: str) -> None:
        if not text.strip():
            self._instruction = None
        elif text != self._instruction:
            self._instruction = text
            self._number += 1
            self._next = 0

    def set_command(self, message: Any) -> None:
        self._action = Velocity.from_twist(message).as_tuple()

    def add_image(self, message: Any, time: int) -> Sample | None:
        """Return the sample of an image message received at `time` (ns), or None.

        Return None without an action or instruction, for an image that cannot be decoded, and between two samples.
        """
        if self._action is None or (self._needs_instruction and self._instruction is None) or not self._is_due(time):
            return None
        try:
            frame = to_rgb(message)
        except InputError as error:
            self.rejected += 1
            self.first_error = self.first_error or str(error)
            return None
        stamp = message.header.stamp
        own = stamp.sec * 10**9 + stamp.nanosec
        return Sample(self._number, self._instruction, frame, self._action, (own or time) * 1e-9)

    def _is_due(self, time: int) -> bool:
        """Return whether the next sample is due.

        Uses the receive time, which never goes back; periods count from the first image of the episode.
        """
        if self._rate is None:
            return True
        if not self._next:
            self._begin = time
        periods = (time - self._begin) * 1e-9 * self._rate + _EARLY
        if periods < self._next:
            return False
        self._next = floor(periods) + 1
        return True

    def empty_reason(self) -> str:
        """Return why no episode was found."""
        if self.first_error:
            return f"none of {self.rejected} images can be used; the first: {self.first_error}"
        if self._action is None:
            return "no command in it: name the topic that the robot was driven by"
        if self._needs_instruction and not self._number:
            return "no instruction in it: leave --instruction-topic out"
        return "no image in it comes after a command and an instruction: record them before the drive begins"
