"""From the messages of a drive to the frames of its episodes, whether a bag holds them or a robot sends them.

At each image, the newest command that had come is its action; an image before the first is left out. With a topic of
instructions, each one that is not blank and not the one before begins an episode, a blank one ends it, and what lies
outside is left out; without, the whole drive is one episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.data.image_decoding import to_rgb
from simple_clip_lstm_ros.errors import InputError

_EARLY = 0.1  # of a period of `rate`: no frame is lost to a camera that is a little early


@dataclass(frozen=True)
class DriveTopics:
    image: str
    command: str
    instruction: str | None = None


@dataclass(frozen=True)
class Sample:
    """What becomes a frame of an episode; `number` tells which."""

    number: int
    instruction: str | None
    frame: np.ndarray  # uint8 [height, width, 3] in RGB
    action: tuple[float, float, float]
    stamp: float  # s: the image's own, or that of the recording where it has none


class EpisodeSegmenter:
    """Follows a recording message by message."""

    def __init__(self, rate: float | None, *, instructed: bool) -> None:
        self.refused, self.refusal = 0, ""
        self._rate, self._instructed = rate, instructed
        self._instruction: str | None = None
        self._number = 0 if instructed else 1
        self._action: tuple[float, float, float] | None = None
        self._begin = self._next = 0

    def instruct(self, text: str) -> None:
        if not text.strip():
            self._instruction = None
        elif text != self._instruction:
            self._instruction = text
            self._number += 1
            self._next = 0

    def command(self, message: Any) -> None:
        self._action = Velocity.from_twist(message).as_tuple()

    def add_image(self, message: Any, time: int) -> Sample | None:
        """None where there is no action or no instruction, for what no image can be made of, and between samples."""
        if self._action is None or (self._instructed and self._instruction is None) or not self._is_due(time):
            return None
        try:
            frame = to_rgb(message)
        except InputError as error:
            self.refused += 1
            self.refusal = self.refusal or str(error)
            return None
        stamp = message.header.stamp
        own = stamp.sec * 10**9 + stamp.nanosec
        return Sample(self._number, self._instruction, frame, self._action, (own or time) * 1e-9)

    def _is_due(self, time: int) -> bool:
        """By the time of the recording, which never goes back; periods count from the episode's first image."""
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
        """Why no episode was found."""
        if self.refusal:
            return f"none of {self.refused} images can be used; the first: {self.refusal}"
        if self._action is None:
            return "no command in it: name the topic that the robot was driven by"
        if self._instructed and not self._number:
            return "no instruction in it: leave --instruction-topic out"
        return "no image in it comes after a command and an instruction: record them before the drive begins"
