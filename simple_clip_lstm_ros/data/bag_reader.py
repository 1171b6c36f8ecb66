"""Convert rosbag2 bags (SQLite or MCAP) to episodes, on a machine without ROS.

data/episode_segmenter.py assigns the frames to episodes, in the order of the recording.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from simple_clip_lstm_ros.data.episode_segmenter import DriveTopics, EpisodeSegmenter, Sample
from simple_clip_lstm_ros.data.hdf5 import SUFFIX, EpisodeWriter
from simple_clip_lstm_ros.errors import EpisodeError, first_line

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # (images read, total images)

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
COMMANDS = ("geometry_msgs/msg/Twist", "geometry_msgs/msg/TwistStamped")
TEXTS = ("std_msgs/msg/String",)


def convert_bag(
    bag: str | Path,
    folder: str | Path,
    topics: DriveTopics,
    *,
    rate: float | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Write the episodes of a bag (its folder, or its .mcap or .db3 file) into `folder`, named after the bag.

    Take `rate` images per second, or all if None. Raise EpisodeError for a bag, topics or a folder that cannot be used,
    and if no episode is found; files written so far are then removed.
    """
    bag, folder = Path(bag), Path(folder)
    name = bag.resolve().name.removesuffix(".mcap").removesuffix(".db3")
    written: list[Path] = []
    with closing(open_bag(bag)) as reader:
        segmenter = EpisodeSegmenter(rate, instructed=topics.instruction is not None)
        samples = _read_samples(reader, bag, topics, segmenter, progress or (lambda done, total: None))
        try:
            for number, group in groupby(samples, key=lambda sample: sample.number):
                path = folder / f"{name}_{number:03}{SUFFIX}"
                _write(path, group)
                written.append(path)
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            raise
    if not written:
        raise EpisodeError(f"{bag}: {segmenter.empty_reason()}")
    if segmenter.rejected:
        logger.warning("%d images left out; the first: %s", segmenter.rejected, segmenter.first_error)
    return written


def _write(path: Path, samples: Iterator[Sample]) -> None:
    first = next(samples)
    with EpisodeWriter(path, language_instruction=first.instruction) as writer:
        writer.add(first.frame, first.action, first.stamp)
        for sample in samples:
            writer.add(sample.frame, sample.action, sample.stamp)


def open_bag(bag: Path) -> Any:
    """Open a bag with rosbags; the caller closes it.

    Raise EpisodeError for a file that is no bag or is broken.
    """
    try:
        # Bags of Humble do not contain message definitions.
        reader = AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except Exception as error:  # for a broken bag the parser raises any exception
        hint = "name the folder that ros2 bag record made, or the .mcap or .db3 file in it"
        raise EpisodeError(f"{bag} cannot be read as a bag ({first_line(error)}): {hint}") from None
    return reader


def _read_samples(
    reader: Any, bag: Path, topics: DriveTopics, segmenter: EpisodeSegmenter, progress: Progress
) -> Iterator[Sample]:
    images = connections_of(reader, bag, topics.image, IMAGES)
    commands = connections_of(reader, bag, topics.command, COMMANDS)
    instructions = connections_of(reader, bag, topics.instruction, TEXTS) if topics.instruction else []
    done, total = 0, sum(connection.msgcount for connection in images)
    for connection, time, message in messages_of(reader, bag, [*images, *commands, *instructions]):
        if connection.msgtype in COMMANDS:
            segmenter.set_command(message)
        elif connection.msgtype in TEXTS:
            segmenter.set_instruction(message.data)
        else:
            done += 1
            progress(done, total)
            if sample := segmenter.add_image(message, time):
                yield sample


def connections_of(reader: Any, bag: Path, topic: str, types: tuple[str, ...]) -> list[Any]:
    """Return the connections of a topic. Raise EpisodeError if it has none of these types."""
    name = "/" + topic.strip("/")
    found = [each for each in reader.connections if each.topic == name and each.msgtype in types]
    if not found:
        candidates = sorted({each.topic for each in reader.connections if each.msgtype in types})
        hint = f"there are {', '.join(candidates)}" if candidates else "there is none in it"
        raise EpisodeError(f"{bag} has no topic {name} of {' or '.join(types)}: {hint}")
    return found


def messages_of(reader: Any, bag: Path, connections: list[Any]) -> Iterator[tuple[Any, int, Any]]:
    """Yield (connection, receive time in ns, message) in recorded order.

    Raise EpisodeError for a damaged bag.
    """
    try:
        for connection, time, raw in reader.messages(connections):
            yield connection, time, reader.deserialize(raw, connection.msgtype)
    except Exception as error:  # as in open_bag
        raise EpisodeError(f"{bag} is damaged ({first_line(error)}): copy it again, or repair it") from None
