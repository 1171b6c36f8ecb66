"""Episodes from bags, rosbag2's SQLite and MCAP, on a machine without ROS.

At each image, the newest command that had been recorded is its action; an image before the first is left out. With a
topic of instructions, each one that is not blank and not the one before begins an episode, a blank one ends it, and
what lies outside is left out; without, the whole bag is one episode.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from math import floor
from pathlib import Path
from typing import Any

import numpy as np

from simple_clip_lstm_ros.data.hdf5 import SUFFIX, EpisodeWriter
from simple_clip_lstm_ros.data.images import to_rgb
from simple_clip_lstm_ros.errors import EpisodeError, InputError, first_line

try:
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore
except ImportError:
    raise EpisodeError("bags need rosbags: pip install rosbags") from None

logger = logging.getLogger(__name__)

Report = Callable[[int, int], None]  # images read, of how many

_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_COMMANDS = ("geometry_msgs/msg/Twist", "geometry_msgs/msg/TwistStamped")
_INSTRUCTIONS = ("std_msgs/msg/String",)
_EARLY = 0.1  # of a period of `rate`: no frame is lost to a camera that is a little early


@dataclass(frozen=True)
class Topics:
    image: str
    command: str
    instruction: str | None = None


@dataclass(frozen=True)
class _Moment:
    """What becomes a frame of an episode; `number` tells which."""

    number: int
    instruction: str | None
    frame: np.ndarray  # uint8 [height, width, 3] in RGB
    action: tuple[float, float, float]
    stamp: float  # s: the image's own, or that of the recording where it has none


def convert_bag(
    bag: str | Path, folder: str | Path, topics: Topics, *, rate: float | None = None, report: Report | None = None
) -> list[Path]:
    """Write the episodes of a bag (its folder, or its .mcap or .db3 file) into `folder`, named after the bag.

    Of the images, `rate` a second are taken, or all. Raises EpisodeError for a bag, topics or a folder that cannot be
    used, and if no episode is found; nothing is left behind then.
    """
    bag, folder = Path(bag), Path(folder)
    name = bag.resolve().name.removesuffix(".mcap").removesuffix(".db3")
    made: list[Path] = []
    with closing(_open(bag)) as reader:
        follower = _Follower(rate, instructed=topics.instruction is not None)
        moments = _moments(reader, bag, topics, follower, report or (lambda done, total: None))
        try:
            for number, group in groupby(moments, key=lambda moment: moment.number):
                path = folder / f"{name}_{number:03}{SUFFIX}"
                _write(path, group)
                made.append(path)
        except BaseException:
            for path in made:
                path.unlink(missing_ok=True)
            raise
    if not made:
        raise EpisodeError(f"{bag}: {follower.why_nothing()}")
    if follower.refused:
        logger.warning("%d images left out; the first: %s", follower.refused, follower.refusal)
    return made


def _write(path: Path, moments: Iterator[_Moment]) -> None:
    first = next(moments)
    with EpisodeWriter(path, language_instruction=first.instruction) as writer:
        writer.add(first.frame, first.action, first.stamp)
        for moment in moments:
            writer.add(moment.frame, moment.action, moment.stamp)


def _open(bag: Path) -> Any:
    try:
        # Bags of Humble do not tell how their messages are laid out.
        reader = AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except Exception as error:  # of a broken bag the parser raises whatever it stumbles on
        told = "name the folder that ros2 bag record made, or the .mcap or .db3 file in it"
        raise EpisodeError(f"{bag} cannot be read as a bag ({first_line(error)}): {told}") from None
    return reader


def _moments(reader: Any, bag: Path, topics: Topics, follower: _Follower, report: Report) -> Iterator[_Moment]:
    images = _connections(reader, bag, topics.image, _IMAGES)
    commands = _connections(reader, bag, topics.command, _COMMANDS)
    instructions = _connections(reader, bag, topics.instruction, _INSTRUCTIONS) if topics.instruction else []
    seen, total = 0, sum(connection.msgcount for connection in images)
    for connection, time, message in _messages(reader, bag, [*images, *commands, *instructions]):
        if connection.msgtype in _COMMANDS:
            follower.command(message)
        elif connection.msgtype in _INSTRUCTIONS:
            follower.instruct(message.data)
        else:
            seen += 1
            report(seen, total)
            if moment := follower.look(message, time):
                yield moment


def _connections(reader: Any, bag: Path, topic: str, types: tuple[str, ...]) -> list[Any]:
    name = "/" + topic.strip("/")
    found = [each for each in reader.connections if each.topic == name and each.msgtype in types]
    if not found:
        fitting = sorted({each.topic for each in reader.connections if each.msgtype in types})
        there = f"there are {', '.join(fitting)}" if fitting else "there is none in it"
        raise EpisodeError(f"{bag} has no topic {name} of {' or '.join(types)}: {there}")
    return found


def _messages(reader: Any, bag: Path, connections: list[Any]) -> Iterator[tuple[Any, int, Any]]:
    """Connection, ns of the recording and message, in the order of the recording."""
    try:
        for connection, time, raw in reader.messages(connections):
            yield connection, time, reader.deserialize(raw, connection.msgtype)
    except Exception as error:  # as in _open
        raise EpisodeError(f"{bag} is damaged ({first_line(error)}): copy it again, or repair it") from None


class _Follower:
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
        twist = getattr(message, "twist", message)
        self._action = (twist.linear.x, twist.linear.y, twist.angular.z)

    def look(self, message: Any, time: int) -> _Moment | None:
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
        return _Moment(self._number, self._instruction, frame, self._action, (own or time) * 1e-9)

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

    def why_nothing(self) -> str:
        """Why no episode was found."""
        if self.refusal:
            return f"none of {self.refused} images can be used; the first: {self.refusal}"
        if self._action is None:
            return "no command in it: name the topic that the robot was driven by"
        if self._instructed and not self._number:
            return "no instruction in it: leave --instruction-topic out"
        return "no image in it comes after a command and an instruction: record them before the drive begins"
