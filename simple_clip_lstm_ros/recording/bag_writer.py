"""Messages to an MCAP bag that Foxglove and the stock rosbag2 tools open."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path

from simple_clip_lstm_ros.errors import EpisodeError, first_line
from simple_clip_lstm_ros.recording.ring_buffer import Channel, Message

try:
    from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.rosbag2.errors import WriterError
    from rosbags.typesys import Stores, get_typestore
except ImportError:
    raise EpisodeError("bags need rosbags: pip install rosbags") from None

_VERSION = 9  # of rosbag2's metadata: that of Jazzy
_RESERVE = 64_000_000  # bytes of disk that are left free: an index that cannot be written makes a bag hard to read
_LOOK_EVERY = 1_000_000  # bytes written; how much is left is asked then
_AS_LONG_AS_IT_TAKES = QosTime(0x7FFFFFFF, 0xFFFFFFFF)


def write_bag(path: Path, messages: Iterable[Message], facts: Callable[[], Mapping[str, str]]) -> int:
    """Write a bag's folder and return how many messages it holds; `facts`, asked at the end, go into its metadata.

    Without a message there is no bag. Raises EpisodeError where it cannot be written. A disk that fills up ends it
    while the index still fits: what was written until then is a whole bag.
    """
    coming = iter(messages)
    first = next(coming, None)
    if first is None:
        return 0
    try:
        with Writer(path, version=_VERSION, storage_plugin=StoragePlugin.MCAP) as writer:
            count, is_full = _write(writer, path, chain([first], coming))
            for name, value in facts().items():
                writer.set_custom_data(name, value)
    except (OSError, WriterError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        told = "; ros2 bag reindex may rescue what is there of it" if path.exists() else ""
        raise EpisodeError(f"{path} cannot be written: {why}{told}") from None
    if is_full:
        left = f"less than {_RESERVE // 1_000_000} MB are left on its disk"
        raise EpisodeError(f"{path} ends here, with {count} messages and whole: {left}; make room, then record again")
    return count


def _write(writer: Writer, path: Path, messages: Iterable[Message]) -> tuple[int, bool]:
    """How many, and whether the disk was full before all were written."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    connections: dict[Channel, Connection] = {}
    count, unwatched = 0, _LOOK_EVERY
    for message in messages:
        unwatched += message.size
        if unwatched >= _LOOK_EVERY:
            unwatched = 0
            if shutil.disk_usage(path).free < _RESERVE:
                return count, True
        channel = message.channel
        if channel not in connections:
            connections[channel] = writer.add_connection(
                channel.topic, channel.type, typestore=store, offered_qos_profiles=[_qos(channel)]
            )
        writer.write(connections[channel], message.time, message.data)
        count += 1
    return count, False


def _qos(channel: Channel) -> Qos:
    """What a player offers: a late subscriber gets what is latched, and all that came before is not repeated."""
    durability = QosDurability.TRANSIENT_LOCAL if channel.is_latched else QosDurability.VOLATILE
    long = _AS_LONG_AS_IT_TAKES
    depth = 1 if channel.is_latched else 10
    reliable, automatic = QosReliability.RELIABLE, QosLiveliness.AUTOMATIC
    return Qos(QosHistory.KEEP_LAST, depth, reliable, durability, long, long, automatic, long, False)
