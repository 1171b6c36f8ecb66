"""Recorders that write bags: of a whole drive, or of the last seconds before each stop."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.typesys import Stores, get_typestore

from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.guard import GuardReason
from simple_clip_lstm_ros.errors import EpisodeError, first_line
from simple_clip_lstm_ros.recording.ring_buffer import BoundedWriteQueue, Channel, Message, RingBuffer

INFERENCE, GUARD = "inference", "velocity_guard"


class StopDetector:
    """Detects stops in the reasons (`NAME: sentence`) of the inference node and the guard.

    An e-stop is a change of either node to disabled. A stop of the guard is any change from forwarding. The first
    reason of a node is the state from before, not an event. The orderly end of a drive by the inference node is not an
    event either, although the guard then misses commands.
    """

    def __init__(self) -> None:
        self._last = {INFERENCE: "", GUARD: ""}

    def update(self, node: str, text: str) -> str:
        """Return the name of a stop such as `velocity_guard_held`; empty if `text` is not a stop."""
        before, self._last[node] = self._last[node], text.partition(":")[0]
        now = self._last[node]
        if before in ("", now) or not self._is_stop(node, before, now):
            return ""
        return f"{node}_{now}".lower()

    def _is_stop(self, node: str, before: str, now: str) -> bool:
        if now == Reason.DISABLED.name:  # also the name of the guard's reason
            return True
        ended_itself = self._last[INFERENCE] == Reason.INACTIVE.name
        return node == GUARD and before == GuardReason.FORWARDING.name and not ended_itself


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


_WRITE_DELAY = 1.0  # s from an event to its bag, which then has the reason and zero after it; more events join it

Metadata = Callable[[], Mapping[str, str]]


def bag_name(why: str) -> str:
    """Return a name for a bag that sorts by time."""
    return f"{time.strftime('%Y%m%d_%H%M%S')}_{why}"


class SnapshotRecorder:
    """Writes the messages of the last seconds into a bag in `folder` after each event.

    `on_written(outcome)` is called for each bag, in the thread that writes it. Call all methods from one thread. The
    ring continues while a bag is written: at most both are in memory.
    """

    def __init__(
        self, folder: Path, ring: RingBuffer, metadata: Metadata, on_written: Callable[[str | EpisodeError], None]
    ) -> None:
        self._folder = folder
        self._ring = ring
        self._metadata = metadata
        self._on_written = on_written
        self._event = ""
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def add(self, message: Message) -> None:
        self._ring.add(message)

    def trigger(self, event: str) -> None:
        """Schedule a bag named after `event`; further events until then write no other bag."""
        if not self._event:
            self._event, self._due = event, time.monotonic() + _WRITE_DELAY

    @property
    def loss_warning(self) -> str:
        """Return a sentence about lost messages; empty if none was lost."""
        count = self._ring.evicted
        return f"{count} messages were dropped early: memory_mb is too small" if count else ""

    def write_if_due(self) -> None:
        """Write the bag of an event when its time has come. Call a few times a second."""
        if self._event and time.monotonic() >= self._due and not self.is_writing:
            event, self._event = self._event, ""
            self.write(event)

    @property
    def is_writing(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def write(self, why: str, done: Callable[[str | EpisodeError], None] = lambda outcome: None) -> None:
        """Write the present messages into a bag, in the background. Do not call while `is_writing`.

        `done` gets the same outcome as `on_written`.
        """
        arguments = (self._folder / bag_name(why), self._ring.messages(), done)
        self._thread = threading.Thread(target=self._write, args=arguments, name="bag")
        self._thread.start()

    def close(self) -> None:
        """Write the bag of a pending event, and return when it is written."""
        if self._thread is not None:
            self._thread.join()
        if self._event:
            self.write(self._event)
            self._event = ""
            self.close()

    def _write(self, path: Path, messages: list[Message], done: Callable[[str | EpisodeError], None]) -> None:
        outcome: str | EpisodeError
        try:
            count = write_bag(path, messages, self._metadata)
        except EpisodeError as error:
            outcome = error
        else:
            seconds = (messages[-1].time - messages[0].time) * 1e-9 if messages else 0.0
            nothing = EpisodeError("nothing has arrived yet: is the robot running?")
            outcome = f"{path}: {count} messages, {seconds:.1f} s" if count else nothing
        self._on_written(outcome)
        done(outcome)


class DriveRecorder:
    """Writes all messages into the bag `path`, through a queue of at most `max_bytes`.

    `on_written(outcome)` is called at the end, in the thread that writes. This thread raises EpisodeError when it
    cannot write any more.
    """

    def __init__(self, path: Path, max_bytes: int, metadata: Metadata, on_written: Callable[[str], None]) -> None:
        self._path = path
        self._metadata = metadata
        self._on_written = on_written
        self._queue = BoundedWriteQueue(max_bytes)
        self.add = self._queue.add
        self._thread = threading.Thread(target=self._write, name="bag")
        self._thread.start()

    def trigger(self, event: str) -> None:
        """Do nothing: the bag has the messages of each event anyway."""

    def write_if_due(self) -> None:
        """Do nothing: the thread writes continuously."""

    @property
    def loss_warning(self) -> str:
        """Return a sentence about lost messages; empty if none was lost."""
        count = self._queue.dropped
        return f"{count} messages were lost: the disk is too slow" if count else ""

    def close(self) -> None:
        """Return when all messages are written."""
        self._queue.close()
        self._thread.join()

    def _write(self) -> None:
        count = write_bag(self._path, self._queue, self._metadata)
        outcome = "; ".join(filter(None, [f"{self._path}: {count} messages", self.loss_warning]))
        self._on_written(outcome if count else "nothing was recorded: no message came")
