"""The result of a replay: both commands over time, their differences, reasons, and key frames."""

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

_MAX_KEY_FRAMES = 12  # seconds of the drive that are kept with an image


class KeyFrame(NamedTuple):
    """The tick with the largest difference of its second; `difference` is a share of the maximum speeds."""

    difference: float
    time: float  # s since the start
    tick: ReplayTick


class ReplayResult:
    """Accumulates ticks, added in order; differences are relative to `max_speeds` (m/s, m/s, rad/s) by axis.

    Keeps images only of the few seconds with the largest differences, so that a long drive takes no more memory.
    """

    def __init__(self, max_speeds: tuple[float, ...]) -> None:
        self._max_speeds = np.array(max_speeds)
        self._rows: list[tuple[float, ...]] = []
        self._reason_durations = ReasonDurations()
        self._recorded_durations = ReasonDurations()
        self._start: float | None = None
        self._best: KeyFrame | None = None
        self._heap: list[tuple[float, int, KeyFrame]] = []
        self._number = itertools.count()

    def add_tick(self, tick: ReplayTick) -> float:
        """Add a tick. Return its time in s since the start."""
        self._start = tick.time if self._start is None else self._start
        time = tick.time - self._start
        recorded = (np.nan,) * len(AXES) if tick.recorded is None else tick.recorded.as_tuple()
        self._rows.append((time, *tick.velocity.as_tuple(), *recorded))
        self._reason_durations.note(tick.reason, time)
        if reason := Reason.__members__.get(tick.recorded_reason):
            self._recorded_durations.note(reason, time)
        if tick.recorded is not None and tick.frame is not None:
            self._update_key_frames(KeyFrame(self._relative_difference(self._rows[-1]), time, tick))
        return time

    def _relative_difference(self, row: tuple[float, ...]) -> float:
        difference = np.abs(np.subtract(row[1:4], row[4:7]))
        return float((difference[self._max_speeds > 0.0] / self._max_speeds[self._max_speeds > 0.0]).max(initial=0.0))

    def _update_key_frames(self, candidate: KeyFrame) -> None:
        if self._best is not None and int(candidate.time) == int(self._best.time):
            self._best = max(self._best, candidate, key=lambda each: each.difference)
        else:
            self._keep_best()
            self._best = candidate

    def _keep_best(self) -> None:
        if self._best is not None and self._best.difference > 0.0:
            heapq.heappush(self._heap, (self._best.difference, next(self._number), self._best))
            if len(self._heap) > _MAX_KEY_FRAMES:
                heapq.heappop(self._heap)
        self._best = None

    @property
    def key_frames(self) -> list[KeyFrame]:
        """Return the key frames in order of time."""
        self._keep_best()
        return sorted((each for _, _, each in self._heap), key=lambda each: each.time)

    @property
    def times(self) -> np.ndarray:
        """Return float64 [T], s since the start."""
        return self._table[:, 0]

    @property
    def replayed(self) -> np.ndarray:
        """Return the replayed commands, float64 [T, 3] by AXES."""
        return self._table[:, 1:4]

    @property
    def recorded(self) -> np.ndarray:
        """Return the recorded commands, float64 [T, 3] by AXES, NaN before the first."""
        return self._table[:, 4:7]

    @property
    def _table(self) -> np.ndarray:
        return np.array(self._rows, float).reshape(-1, 7)

    def differences(self) -> dict[str, dict[str, float]]:
        """Return the differences by axis, for axes that are used.

        Over the ticks with a known recorded command; empty if there are none.
        """
        known = ~np.isnan(self.recorded[:, 0])
        times, replayed, recorded = self.times[known], self.replayed[known], self.recorded[known]
        differences = {}
        for column, axis in enumerate(AXES):
            ours, theirs = replayed[:, column], recorded[:, column]
            if ours.any() or theirs.any():
                error = AxisError.of(ours, theirs)
                worst = int(np.abs(ours - theirs).argmax())
                differences[axis] = {
                    "mean": error.error,
                    "largest": float(abs(ours[worst] - theirs[worst])),
                    "largest at": float(times[worst]),
                    "same direction": error.direction,
                }
        return differences

    def as_plain(self) -> dict[str, Any]:
        return {
            "seconds": float(self.times[-1]) if len(self._rows) else 0.0,
            "commands": len(self._rows),
            "differences": self.differences(),
            "reasons": {"replayed": self._reason_durations.summary(), "recorded": self._recorded_durations.summary()},
            "largest": [
                {
                    "time": each.time,
                    "apart": each.difference,
                    "replayed": [*each.tick.velocity.as_tuple()],
                    "recorded": [*each.tick.recorded.as_tuple()] if each.tick.recorded else None,
                    "reason": each.tick.reason.name,
                }
                for each in self.key_frames
            ],
        }
