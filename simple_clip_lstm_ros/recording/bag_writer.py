"""Writer of MCAP bags that Foxglove and the rosbag2 tools can open."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.typesys import Stores, get_typestore

from simple_clip_lstm_ros.errors import EpisodeError, first_line
from simple_clip_lstm_ros.recording.ring_buffer import Channel, Message

_VERSION = 9  # of rosbag2's metadata, as in Jazzy
_RESERVE = 64_000_000  # bytes of disk to keep free: a bag without an index is hard to read
_CHECK_EVERY = 1_000_000  # bytes written between checks of the disk space
_INFINITE = QosTime(0x7FFFFFFF, 0xFFFFFFFF)


def write_bag(path: Path, messages: Iterable[Message], metadata: Callable[[], Mapping[str, str]]) -> int:
    """Write a bag's folder; return the number of messages.

    `metadata` is called at the end; its items go into the bag's metadata. Write no bag without messages. Raise
    EpisodeError if the bag cannot be written, or when the disk becomes full. The bag then ends while its index still
    fits, so it is valid.
    """
    remaining = iter(messages)
    first = next(remaining, None)
    if first is None:
        return 0
    try:
        with Writer(path, version=_VERSION, storage_plugin=StoragePlugin.MCAP) as writer:
            count, is_full = _write(writer, path, chain([first], remaining))
            for name, value in metadata().items():
                writer.set_custom_data(name, value)
    except (OSError, WriterError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        hint = "; ros2 bag reindex may rescue what is there of it" if path.exists() else ""
        raise EpisodeError(f"{path} cannot be written: {why}{hint}") from None
    if is_full:
        left = f"less than {_RESERVE // 1_000_000} MB are left on its disk"
        raise EpisodeError(f"{path} ends here, with {count} messages and whole: {left}; make room, then record again")
    return count


def _write(writer: Writer, path: Path, messages: Iterable[Message]) -> tuple[int, bool]:
    """Write the messages; return their number, and whether the disk was full before the end."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    connections: dict[Channel, Connection] = {}
    count, unchecked = 0, _CHECK_EVERY
    for message in messages:
        unchecked += message.size
        if unchecked >= _CHECK_EVERY:
            unchecked = 0
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
    """Return the QoS that a player offers: late subscribers get latched messages, and no others."""
    durability = QosDurability.TRANSIENT_LOCAL if channel.is_latched else QosDurability.VOLATILE
    infinite = _INFINITE
    depth = 1 if channel.is_latched else 10
    reliable, automatic = QosReliability.RELIABLE, QosLiveliness.AUTOMATIC
    return Qos(QosHistory.KEEP_LAST, depth, reliable, durability, infinite, infinite, automatic, infinite, False)
