"""How the campaign tells another process to misbehave, and learns when it did: two small files."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Switch:
    """`set` from the campaign, `state` and `happened` from the process, by time.monotonic()."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._moment = path.with_suffix(".moment")

    def set(self, state: str) -> float:
        """When it was set."""
        self._moment.unlink(missing_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(state)
        os.replace(fresh, self._path)
        return time.monotonic()

    @property
    def state(self) -> str:
        try:
            return self._path.read_text()
        except FileNotFoundError:
            return ""

    def happened(self) -> None:
        """Note the moment, the first time since it was set."""
        if not self._moment.exists():
            fresh = self._moment.with_suffix(".newer")
            fresh.write_text(repr(time.monotonic()))
            os.replace(fresh, self._moment)

    def wait(self, seconds: float) -> float:
        """The moment at which it happened. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while not self._moment.exists():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.state!r} did not happen within {seconds:g} s")
            time.sleep(0.002)
        return float(self._moment.read_text())
