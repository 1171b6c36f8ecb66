"""What a reflex commands and why: the form in which the Governor and the Guard answer."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass

from simple_clip_lstm_ros.control.velocity import Velocity


@dataclass(frozen=True)
class Decision:
    """What to command now. `reason`'s value is a sentence for people; `detail` completes it with this case's facts."""

    velocity: Velocity
    reason: enum.Enum
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason.name}: {self.reason.value}" + (f" ({self.detail})" if self.detail else "")


class ReasonDurations:
    """How often each reason was entered and how long it held, by the caller's clock, in seconds."""

    def __init__(self) -> None:
        self._times: Counter[enum.Enum] = Counter()
        self._seconds: dict[enum.Enum, float] = {}
        self._present: enum.Enum | None = None
        self._noted = 0.0

    def note(self, reason: enum.Enum, now: float) -> None:
        """The reason from `now` on; the time since the last note belongs to the one before."""
        if self._present is not None:
            self._seconds[self._present] += now - self._noted
        if reason is not self._present:
            self._times[reason] += 1
            self._seconds.setdefault(reason, 0.0)
        self._present, self._noted = reason, now

    def summary(self) -> dict[str, dict[str, float]]:
        """`{reason's name: {"times": n, "seconds": s}}`, the longest first."""
        longest = sorted(self._seconds.items(), key=lambda item: -item[1])
        return {
            reason.name: {"times": self._times[reason], "seconds": round(seconds, 3)} for reason, seconds in longest
        }
