"""What happened on a recorded drive, in the order of the recording, whatever recorded it: a bag or an episode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import yaml

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.data.bag_reader import COMMANDS, IMAGES, TEXTS, connections_of, messages_of, open_bag
from simple_clip_lstm_ros.data.dataset import instruction_of, velocities_of
from simple_clip_lstm_ros.data.hdf5 import read_episode
from simple_clip_lstm_ros.data.image_decoding import to_rgb
from simple_clip_lstm_ros.errors import EpisodeError, InputError

_OVERLAY = "/inference/overlay"  # drawn over: no camera sees that
_BATCH = 32  # frames of an episode that are read together


class ImageEvent(NamedTuple):
    """Times in seconds: when it was recorded, and its own; `frame` uint8 [height, width, 3] in RGB."""

    time: float
    stamp: float
    frame: np.ndarray


class BadImageEvent(NamedTuple):
    """An image of which no picture can be made."""

    time: float
    why: str


class InstructionEvent(NamedTuple):
    time: float
    instruction: str


class CommandEvent(NamedTuple):
    time: float
    velocity: Velocity


class ReasonEvent(NamedTuple):
    """What the inference node said of itself: the reason's name."""

    time: float
    reason: str


DriveEvent = ImageEvent | BadImageEvent | InstructionEvent | CommandEvent | ReasonEvent


class RecordedDrive(Protocol):
    """A recorded drive of so many `images`. `commands` names what the robot was commanded by; None where nothing is
    recorded of that. `parameters` are the inference node's, as far as they were recorded.
    """

    images: int
    commands: str | None
    has_instruction: bool
    parameters: dict[str, Any]

    def __iter__(self) -> Iterator[DriveEvent]:
        """Raises EpisodeError for what is damaged."""


@dataclass(frozen=True)
class TopicSelection:
    """Topics by name; None: whichever fits, if there is one."""

    image: str | None = None
    command: str | None = None
    instruction: str | None = None


class BagDrive:
    """Of a bag: rosbag2's SQLite or MCAP. Raises EpisodeError for what is no bag, or has no images, or several."""

    def __init__(self, bag: Path, named: TopicSelection) -> None:
        self._bag = bag
        with closing(open_bag(bag)) as reader:
            topics = _TopicFinder(bag, reader)
            self._image = topics.image(named.image)
            self.commands = topics.other(named.command, COMMANDS, ("/cmd_vel_raw", "/cmd_vel"), "--command-topic")
            self._texts = topics.other(named.instruction, TEXTS, ("/instruction",), "--instruction-topic")
            self._reasons = topics.other(None, TEXTS, ("/inference/reason",), "another bag: it has several robots")
            self.images = sum(each.msgcount for each in connections_of(reader, bag, self._image, IMAGES))
        self.parameters = _parameters(bag)
        self.has_instruction = self._texts is not None

    def __iter__(self) -> Iterator[DriveEvent]:
        with closing(open_bag(self._bag)) as reader:
            wanted = {self._image: IMAGES, self.commands: COMMANDS, self._texts: TEXTS, self._reasons: TEXTS}
            found = [
                connection
                for topic, types in wanted.items()
                if topic is not None
                for connection in connections_of(reader, self._bag, topic, types)
            ]
            for connection, nanoseconds, message in messages_of(reader, self._bag, found):
                yield self._read(connection.topic, nanoseconds * 1e-9, message)

    def _read(self, topic: str, time: float, message: Any) -> DriveEvent:
        if topic == self._image:
            stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
            try:
                return ImageEvent(time, stamp or time, to_rgb(message))
            except InputError as error:
                return BadImageEvent(time, str(error))
        if topic == self._texts:
            return InstructionEvent(time, message.data)
        if topic == self._reasons:
            return ReasonEvent(time, message.data.partition(":")[0])
        return CommandEvent(time, Velocity.from_twist(message))


class EpisodeDrive:
    """Of an HDF5 file; `scale` as for velocities_of. Raises EpisodeError for one that cannot be read."""

    commands: str | None = "the episode's actions"

    def __init__(self, file: Path, instruction: str | None, scale: tuple[float, float, float] | None) -> None:
        self._episode = read_episode(file)
        self.images = len(self._episode)
        self.has_instruction = True
        self.parameters: dict[str, Any] = {}
        self._instruction = instruction or instruction_of(self._episode, None)
        self._velocities = velocities_of(self._episode, scale)

    def __iter__(self) -> Iterator[DriveEvent]:
        times = self._episode.timestamps
        if times is None:
            times = np.linspace(0.0, self._episode.total_duration, self.images)
        yield InstructionEvent(float(times[0]), self._instruction)
        for begin in range(0, self.images, _BATCH):
            indices = range(begin, min(begin + _BATCH, self.images))
            for index, frame in zip(indices, self._episode.frames(indices), strict=True):
                time = float(times[index])
                yield CommandEvent(time, Velocity(*map(float, self._velocities[index])))
                yield ImageEvent(time, time, frame)


def _parameters(bag: Path) -> dict[str, Any]:
    """What the recorder wrote of the inference node's parameters into the bag's folder."""
    try:
        told = yaml.safe_load((bag / "metadata.yaml").read_text())
        found = json.loads(told["rosbag2_bagfile_information"]["custom_data"]["inference parameters"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # of another recorder, or "not known: ..."
        return {}
    return found if isinstance(found, dict) else {}


class _TopicFinder:
    """Of a bag: finds those that are meant."""

    def __init__(self, bag: Path, reader: Any) -> None:
        self._bag = bag
        self._reader = reader

    def image(self, named: str | None) -> str:
        """Raises EpisodeError unless it is named or the only one."""
        if named is not None:
            return connections_of(self._reader, self._bag, named, IMAGES)[0].topic
        fitting = [topic for topic in self._of(IMAGES) if not topic.endswith(_OVERLAY)]
        if len(fitting) != 1:
            there = f"images on {', '.join(fitting)}: name one with --image-topic" if fitting else "no images"
            raise EpisodeError(f"{self._bag} has {there}")
        return fitting[0]

    def other(self, named: str | None, types: tuple[str, ...], ends: tuple[str, ...], option: str) -> str | None:
        """Named, or the one that ends in the first of `ends` that any does. Raises EpisodeError if several do."""
        if named is not None:
            return connections_of(self._reader, self._bag, named, types)[0].topic
        for end in ends:
            fitting = [topic for topic in self._of(types) if topic.endswith(end)]
            if len(fitting) > 1:
                raise EpisodeError(f"{self._bag} has {', '.join(fitting)}: name one with {option}")
            if fitting:
                return fitting[0]
        return None

    def _of(self, types: tuple[str, ...]) -> list[str]:
        return sorted({each.topic for each in self._reader.connections if each.msgtype in types and each.msgcount})
