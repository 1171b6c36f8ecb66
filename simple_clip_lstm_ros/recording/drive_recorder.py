"""Write bags of a drive: the whole of it, or snapshots of the last seconds before each stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from simple_clip_lstm_ros.errors import EpisodeError
from simple_clip_lstm_ros.recording.bag_writer import write_bag
from simple_clip_lstm_ros.recording.ring_buffer import BoundedWriteQueue, Message, RingBuffer

_AFTER = 1.0  # s from an event to its bag: the reason and the zero that follow are to be in it, and more events join it

Metadata = Callable[[], Mapping[str, str]]


def bag_name(why: str) -> str:
    """Sorts by time."""
    return f"{time.strftime('%Y%m%d_%H%M%S')}_{why}"


class SnapshotRecorder:
    """Bags go into `folder`; `told` hears of each, and is called from the thread that writes it.

    All else is for one thread. While a bag is written, the ring goes on: at most both are in memory.
    """

    def __init__(
        self, folder: Path, ring: RingBuffer, facts: Metadata, told: Callable[[str | EpisodeError], None]
    ) -> None:
        self._folder = folder
        self._ring = ring
        self._facts = facts
        self._told = told
        self._event = ""
        self._due = 0.0
        self._writing: threading.Thread | None = None

    def add(self, message: Message) -> None:
        self._ring.add(message)

    def trigger(self, event: str) -> None:
        """Its bag will bear its name; further events until it is written make no other."""
        if not self._event:
            self._event, self._due = event, time.monotonic() + _AFTER

    @property
    def lost(self) -> str:
        """In words; empty where all was kept that should be."""
        lost = self._ring.evicted
        return f"{lost} messages were forgotten before their time: they took more memory than allowed" if lost else ""

    def look(self) -> None:
        """A few times a second."""
        if self._event and time.monotonic() >= self._due and not self.is_writing:
            event, self._event = self._event, ""
            self.write(event)

    @property
    def is_writing(self) -> bool:
        return self._writing is not None and self._writing.is_alive()

    def write(self, why: str, done: Callable[[str | EpisodeError], None] = lambda outcome: None) -> None:
        """What there is now; `done` hears the same as `told`. Not while another is written."""
        arguments = (self._folder / bag_name(why), self._ring.content(), done)
        self._writing = threading.Thread(target=self._write, args=arguments, name="bag")
        self._writing.start()

    def close(self) -> None:
        """What has happened just now is still written."""
        if self._writing is not None:
            self._writing.join()
        if self._event:
            self.write(self._event)
            self._event = ""
            self.close()

    def _write(self, path: Path, messages: list[Message], done: Callable[[str | EpisodeError], None]) -> None:
        outcome: str | EpisodeError
        try:
            count = write_bag(path, messages, self._facts)
        except EpisodeError as error:
            outcome = error
        else:
            seconds = (messages[-1].time - messages[0].time) * 1e-9 if messages else 0.0
            nothing = EpisodeError("nothing has arrived yet: is the robot running?")
            outcome = f"{path}: {count} messages, {seconds:.1f} s" if count else nothing
        self._told(outcome)
        done(outcome)


class DriveRecorder:
    """Into the bag `path`, through a backlog of at most `most_bytes`; `told` hears how it ended.

    Where it cannot be written any more, its thread raises EpisodeError.
    """

    def __init__(self, path: Path, most_bytes: int, facts: Metadata, told: Callable[[str], None]) -> None:
        self._path = path
        self._facts = facts
        self._told = told
        self._backlog = BoundedWriteQueue(most_bytes)
        self.add = self._backlog.add
        self._writing = threading.Thread(target=self._write, name="bag")
        self._writing.start()

    def trigger(self, event: str) -> None:
        """It is in the bag in any case."""

    def look(self) -> None:
        """The thread writes whenever there is something."""

    @property
    def lost(self) -> str:
        """In words; empty where all was kept."""
        lost = self._backlog.dropped
        return f"{lost} messages were lost: the disk is too slow" if lost else ""

    def close(self) -> None:
        """Returns when all that came is written."""
        self._backlog.close()
        self._writing.join()

    def _write(self) -> None:
        count = write_bag(self._path, self._backlog, self._facts)
        told = "; ".join(filter(None, [f"{self._path}: {count} messages", self.lost]))
        self._told(told if count else "nothing was recorded: no message came")
