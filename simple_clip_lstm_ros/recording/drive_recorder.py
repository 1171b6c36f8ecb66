"""Recorders that write bags: of a whole drive, or of the last seconds before each stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from simple_clip_lstm_ros.errors import EpisodeError
from simple_clip_lstm_ros.recording.bag_writer import write_bag
from simple_clip_lstm_ros.recording.ring_buffer import BoundedWriteQueue, Message, RingBuffer

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
        return f"{count} messages were forgotten before their time: they took more memory than allowed" if count else ""

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
