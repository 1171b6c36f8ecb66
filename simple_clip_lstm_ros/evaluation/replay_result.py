"""What came of a replay: both commands over time, how far apart they are, why the robot stood, and where to look."""

from __future__ import annotations

import heapq
import itertools
from typing import Any, NamedTuple

import numpy as np

from simple_clip_lstm_ros.control.decision import ReasonDurations
from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.velocity import AXES
from simple_clip_lstm_ros.evaluation.metrics import AxisError
from simple_clip_lstm_ros.evaluation.replay import ReplayTick

_MAX_KEY_FRAMES = 12  # seconds of the drive that are kept with their picture


class KeyFrame(NamedTuple):
    """The moment at which the commands differ most within its second. `apart` is in shares of the largest speeds."""

    apart: float
    time: float  # s since the beginning
    moment: ReplayTick


class ReplayResult:
    """`add` each moment in turn; `largest` are the speeds of each axis (m/s, m/s, rad/s) that differences count by.

    Pictures are kept of the few seconds in which the commands differ most: a long drive takes no more memory for them.
    """

    def __init__(self, largest: tuple[float, ...]) -> None:
        self._largest = np.array(largest)
        self._rows: list[tuple[float, ...]] = []
        self._reason_durations = ReasonDurations()
        self._recorded_durations = ReasonDurations()
        self._begin: float | None = None
        self._best: KeyFrame | None = None
        self._album: list[tuple[float, int, KeyFrame]] = []
        self._number = itertools.count()

    def add(self, moment: ReplayTick) -> float:
        """Returns the seconds since the beginning."""
        self._begin = moment.time if self._begin is None else self._begin
        time = moment.time - self._begin
        recorded = (np.nan,) * len(AXES) if moment.recorded is None else moment.recorded.as_tuple()
        self._rows.append((time, *moment.velocity.as_tuple(), *recorded))
        self._reason_durations.note(moment.reason, time)
        if reason := Reason.__members__.get(moment.recorded_reason):
            self._recorded_durations.note(reason, time)
        if moment.recorded is not None and moment.frame is not None:
            self._compare(KeyFrame(self._apart(self._rows[-1]), time, moment))
        return time

    def _apart(self, row: tuple[float, ...]) -> float:
        apart = np.abs(np.subtract(row[1:4], row[4:7]))
        return float((apart[self._largest > 0.0] / self._largest[self._largest > 0.0]).max(initial=0.0))

    def _compare(self, shot: KeyFrame) -> None:
        if self._best is not None and int(shot.time) == int(self._best.time):
            self._best = max(self._best, shot, key=lambda each: each.apart)
        else:
            self._keep()
            self._best = shot

    def _keep(self) -> None:
        if self._best is not None and self._best.apart > 0.0:
            heapq.heappush(self._album, (self._best.apart, next(self._number), self._best))
            if len(self._album) > _MAX_KEY_FRAMES:
                heapq.heappop(self._album)
        self._best = None

    @property
    def shots(self) -> list[KeyFrame]:
        """In the order of time."""
        self._keep()
        return sorted((shot for _, _, shot in self._album), key=lambda shot: shot.time)

    @property
    def times(self) -> np.ndarray:
        """float64 [T], s since the beginning."""
        return self._table[:, 0]

    @property
    def replayed(self) -> np.ndarray:
        """float64 [T, 3] by AXES."""
        return self._table[:, 1:4]

    @property
    def recorded(self) -> np.ndarray:
        """float64 [T, 3] by AXES, NaN where nothing was commanded yet."""
        return self._table[:, 4:7]

    @property
    def _table(self) -> np.ndarray:
        return np.array(self._rows, float).reshape(-1, 7)

    def differences(self) -> dict[str, dict[str, float]]:
        """By axis that is ever used, over the moments whose recorded command is known; empty where none is."""
        known = ~np.isnan(self.recorded[:, 0])
        times, replayed, recorded = self.times[known], self.replayed[known], self.recorded[known]
        found = {}
        for column, axis in enumerate(AXES):
            now, then = replayed[:, column], recorded[:, column]
            if now.any() or then.any():
                fit = AxisError.of(now, then)
                worst = int(np.abs(now - then).argmax())
                found[axis] = {
                    "mean": fit.error,
                    "largest": float(abs(now[worst] - then[worst])),
                    "largest at": float(times[worst]),
                    "same direction": fit.direction,
                }
        return found

    def as_plain(self) -> dict[str, Any]:
        return {
            "seconds": float(self.times[-1]) if len(self._rows) else 0.0,
            "commands": len(self._rows),
            "differences": self.differences(),
            "reasons": {"replayed": self._reason_durations.summary(), "recorded": self._recorded_durations.summary()},
            "largest": [
                {
                    "time": shot.time,
                    "apart": shot.apart,
                    "replayed": [*shot.moment.velocity.as_tuple()],
                    "recorded": [*shot.moment.recorded.as_tuple()] if shot.moment.recorded else None,
                    "reason": shot.moment.reason.name,
                }
                for shot in self.shots
            ],
        }
