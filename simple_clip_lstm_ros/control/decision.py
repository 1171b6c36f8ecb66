"""The decision of a Governor or Guard: a velocity and the reason for it."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass

from simple_clip_lstm_ros.control.velocity import Velocity


@dataclass(frozen=True)
class Decision:
    """Velocity to command now, and why.

    The value of `reason` is a sentence for users; `detail` adds the facts of this case.
    """

    velocity: Velocity
    reason: enum.Enum
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason.name}: {self.reason.value}" + (f" ({self.detail})" if self.detail else "")


class ReasonDurations:
    """Counts of each reason and its total duration, in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._times: Counter[enum.Enum] = Counter()
        self._seconds: dict[enum.Enum, float] = {}
        self._current: enum.Enum | None = None
        self._last_note = 0.0

    def note(self, reason: enum.Enum, now: float) -> None:
        """Enter `reason` at `now`; the time since the last call counts for the reason before it."""
        if self._current is not None:
            self._seconds[self._current] += now - self._last_note
        if reason is not self._current:
            self._times[reason] += 1
            self._seconds.setdefault(reason, 0.0)
        self._current, self._last_note = reason, now

    def summary(self) -> dict[str, dict[str, float]]:
        """Return `{reason's name: {"times": n, "seconds": s}}`, longest first."""
        longest = sorted(self._seconds.items(), key=lambda item: -item[1])
        return {
            reason.name: {"times": self._times[reason], "seconds": round(seconds, 3)} for reason, seconds in longest
        }
