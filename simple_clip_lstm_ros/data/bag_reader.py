"""Episodes from bags, rosbag2's SQLite and MCAP, on a machine without ROS.

What becomes a frame of which episode, data/episode_segmenter.py tells: by the order of the recording.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

from simple_clip_lstm_ros.data.episode_segmenter import DriveTopics, EpisodeSegmenter, Sample
from simple_clip_lstm_ros.data.hdf5 import SUFFIX, EpisodeWriter
from simple_clip_lstm_ros.errors import EpisodeError, first_line

try:
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore
except ImportError:
    raise EpisodeError("bags need rosbags: pip install rosbags") from None

logger = logging.getLogger(__name__)

Report = Callable[[int, int], None]  # images read, of how many

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
COMMANDS = ("geometry_msgs/msg/Twist", "geometry_msgs/msg/TwistStamped")
TEXTS = ("std_msgs/msg/String",)


def convert_bag(
    bag: str | Path, folder: str | Path, topics: DriveTopics, *, rate: float | None = None, report: Report | None = None
) -> list[Path]:
    """Write the episodes of a bag (its folder, or its .mcap or .db3 file) into `folder`, named after the bag.

    Of the images, `rate` a second are taken, or all. Raises EpisodeError for a bag, topics or a folder that cannot be
    used, and if no episode is found; nothing is left behind then.
    """
    bag, folder = Path(bag), Path(folder)
    name = bag.resolve().name.removesuffix(".mcap").removesuffix(".db3")
    made: list[Path] = []
    with closing(open_bag(bag)) as reader:
        follower = EpisodeSegmenter(rate, instructed=topics.instruction is not None)
        moments = _read_samples(reader, bag, topics, follower, report or (lambda done, total: None))
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
        raise EpisodeError(f"{bag}: {follower.empty_reason()}")
    if follower.refused:
        logger.warning("%d images left out; the first: %s", follower.refused, follower.refusal)
    return made


def _write(path: Path, moments: Iterator[Sample]) -> None:
    first = next(moments)
    with EpisodeWriter(path, language_instruction=first.instruction) as writer:
        writer.add(first.frame, first.action, first.stamp)
        for moment in moments:
            writer.add(moment.frame, moment.action, moment.stamp)


def open_bag(bag: Path) -> Any:
    """A reader of rosbags', to be closed. Raises EpisodeError for what is no bag, or a broken one."""
    try:
        # Bags of Humble do not tell how their messages are laid out.
        reader = AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except Exception as error:  # of a broken bag the parser raises whatever it stumbles on
        told = "name the folder that ros2 bag record made, or the .mcap or .db3 file in it"
        raise EpisodeError(f"{bag} cannot be read as a bag ({first_line(error)}): {told}") from None
    return reader


def _read_samples(
    reader: Any, bag: Path, topics: DriveTopics, follower: EpisodeSegmenter, report: Report
) -> Iterator[Sample]:
    images = connections_of(reader, bag, topics.image, IMAGES)
    commands = connections_of(reader, bag, topics.command, COMMANDS)
    instructions = connections_of(reader, bag, topics.instruction, TEXTS) if topics.instruction else []
    seen, total = 0, sum(connection.msgcount for connection in images)
    for connection, time, message in messages_of(reader, bag, [*images, *commands, *instructions]):
        if connection.msgtype in COMMANDS:
            follower.command(message)
        elif connection.msgtype in TEXTS:
            follower.instruct(message.data)
        else:
            seen += 1
            report(seen, total)
            if moment := follower.add_image(message, time):
                yield moment


def connections_of(reader: Any, bag: Path, topic: str, types: tuple[str, ...]) -> list[Any]:
    """Of that topic. Raises EpisodeError where there is none of these types."""
    name = "/" + topic.strip("/")
    found = [each for each in reader.connections if each.topic == name and each.msgtype in types]
    if not found:
        fitting = sorted({each.topic for each in reader.connections if each.msgtype in types})
        there = f"there are {', '.join(fitting)}" if fitting else "there is none in it"
        raise EpisodeError(f"{bag} has no topic {name} of {' or '.join(types)}: {there}")
    return found


def messages_of(reader: Any, bag: Path, connections: list[Any]) -> Iterator[tuple[Any, int, Any]]:
    """Connection, ns of the recording and message, in the order of the recording. Raises EpisodeError for damage."""
    try:
        for connection, time, raw in reader.messages(connections):
            yield connection, time, reader.deserialize(raw, connection.msgtype)
    except Exception as error:  # as in open_bag
        raise EpisodeError(f"{bag} is damaged ({first_line(error)}): copy it again, or repair it") from None
