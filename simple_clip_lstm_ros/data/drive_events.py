"""Events of a recorded drive, from a bag or an episode, in the order of the recording."""

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

_OVERLAY = "/inference/overlay"  # an annotated image, not a camera's
_BATCH = 32  # frames of an episode per read


class ImageEvent(NamedTuple):
    """An image: receive time and stamp in s; `frame` uint8 [height, width, 3] in RGB."""

    time: float
    stamp: float
    frame: np.ndarray


class BadImageEvent(NamedTuple):
    """An image that cannot be decoded, and why."""

    time: float
    reason: str


class InstructionEvent(NamedTuple):
    time: float
    instruction: str


class CommandEvent(NamedTuple):
    time: float
    velocity: Velocity


class ReasonEvent(NamedTuple):
    """The name of a Reason that the inference node published."""

    time: float
    reason: str


DriveEvent = ImageEvent | BadImageEvent | InstructionEvent | CommandEvent | ReasonEvent


class RecordedDrive(Protocol):
    """A recorded drive with its number of `images`.

    `commands` names the source of the commands, None if none are recorded. `parameters` are the inference node's, as
    far as they were recorded.
    """

    images: int
    commands: str | None
    has_instruction: bool
    parameters: dict[str, Any]

    def __iter__(self) -> Iterator[DriveEvent]:
        """Yield the events. Raise EpisodeError for a damaged recording."""


@dataclass(frozen=True)
class TopicSelection:
    """Topics by name; None selects a matching one, if any."""

    image: str | None = None
    command: str | None = None
    instruction: str | None = None


class BagDrive:
    """A drive in a rosbag2 bag (SQLite or MCAP).

    Raise EpisodeError for a file that is no bag, or has no image topic, or several.
    """

    def __init__(self, bag: Path, selection: TopicSelection) -> None:
        self._bag = bag
        with closing(open_bag(bag)) as reader:
            finder = _TopicFinder(bag, reader)
            self._image = finder.find_image_topic(selection.image)
            self.commands = finder.find_topic(
                selection.command, COMMANDS, ("/cmd_vel_raw", "/cmd_vel"), "--command-topic"
            )
            self._texts = finder.find_topic(selection.instruction, TEXTS, ("/instruction",), "--instruction-topic")
            self._reasons = finder.find_topic(None, TEXTS, ("/inference/reason",), "another bag: it has several robots")
            self.images = sum(each.msgcount for each in connections_of(reader, bag, self._image, IMAGES))
        self.parameters = _read_parameters(bag)
        self.has_instruction = self._texts is not None

    def __iter__(self) -> Iterator[DriveEvent]:
        with closing(open_bag(self._bag)) as reader:
            topics = {self._image: IMAGES, self.commands: COMMANDS, self._texts: TEXTS, self._reasons: TEXTS}
            connections = [
                connection
                for topic, types in topics.items()
                if topic is not None
                for connection in connections_of(reader, self._bag, topic, types)
            ]
            for connection, nanoseconds, message in messages_of(reader, self._bag, connections):
                yield self._to_event(connection.topic, nanoseconds * 1e-9, message)

    def _to_event(self, topic: str, time: float, message: Any) -> DriveEvent:
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
    """A drive in an HDF5 episode; `scale` as for velocities_of. Raise EpisodeError for an unreadable file."""

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


def _read_parameters(bag: Path) -> dict[str, Any]:
    """Return the inference node's parameters that our recorder stored in the bag's metadata, or {}."""
    try:
        metadata = yaml.safe_load((bag / "metadata.yaml").read_text())
        parameters = json.loads(metadata["rosbag2_bagfile_information"]["custom_data"]["inference parameters"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # another recorder's bag, or "not known: ..."
        return {}
    return parameters if isinstance(parameters, dict) else {}


class _TopicFinder:
    """Finds the topics of a bag that are selected or match."""

    def __init__(self, bag: Path, reader: Any) -> None:
        self._bag = bag
        self._reader = reader

    def find_image_topic(self, selected: str | None) -> str:
        """Return the selected topic, or the only one. Raise EpisodeError if there are none or several."""
        if selected is not None:
            return connections_of(self._reader, self._bag, selected, IMAGES)[0].topic
        candidates = [topic for topic in self._topics_of(IMAGES) if not topic.endswith(_OVERLAY)]
        if len(candidates) != 1:
            problem = f"images on {', '.join(candidates)}: name one with --image-topic" if candidates else "no images"
            raise EpisodeError(f"{self._bag} has {problem}")
        return candidates[0]

    def find_topic(
        self, selected: str | None, types: tuple[str, ...], suffixes: tuple[str, ...], option: str
    ) -> str | None:
        """Return the selected topic, or the one with the first suffix that matches any, or None.

        Raise EpisodeError if several match.
        """
        if selected is not None:
            return connections_of(self._reader, self._bag, selected, types)[0].topic
        for suffix in suffixes:
            candidates = [topic for topic in self._topics_of(types) if topic.endswith(suffix)]
            if len(candidates) > 1:
                raise EpisodeError(f"{self._bag} has {', '.join(candidates)}: name one with {option}")
            if candidates:
                return candidates[0]
        return None

    def _topics_of(self, types: tuple[str, ...]) -> list[str]:
        return sorted({each.topic for each in self._reader.connections if each.msgtype in types and each.msgcount})
