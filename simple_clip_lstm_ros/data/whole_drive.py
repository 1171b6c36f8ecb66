"""A drive from beginning to end, written as a bag while it happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from simple_clip_lstm_ros.data.backlog import Backlog
from simple_clip_lstm_ros.data.bag_writer import write_bag
from simple_clip_lstm_ros.data.last_moments import Facts


class WholeDrive:
    """Into the bag `path`, through a backlog of at most `most_bytes`; `told` hears how it ended.

    Where it cannot be written any more, its thread raises EpisodeError.
    """

    def __init__(self, path: Path, most_bytes: int, facts: Facts, told: Callable[[str], None]) -> None:
        self._path = path
        self._facts = facts
        self._told = told
        self._backlog = Backlog(most_bytes)
        self.add = self._backlog.add
        self._writing = threading.Thread(target=self._write, name="bag")
        self._writing.start()

    def happened(self, event: str) -> None:
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
