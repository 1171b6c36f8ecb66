"""Timing of a drive: rates against their targets, latencies, and the report of a drive."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from simple_clip_lstm_ros.control.governor import Governor

_BIN = math.log(1.02)  # two percent wide
_SMALLEST = 1e-6
_QUANTILES = (0.5, 0.9, 0.99)
_WORST = 5
# A command within a fifth of its period is on time.
_ON_TIME = 0.2


class LogHistogram:
    """Histogram of a positive quantity with bins 2 % wide: a few hundred numbers for any count."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._count = 0
        self._largest = 0.0

    def add(self, value: float) -> None:
        self._bins[round(math.log(max(value, _SMALLEST)) / _BIN)] += 1
        self._count += 1
        self._largest = max(self._largest, value)

    def quantile(self, share: float) -> float:
        """Return the quantile of `share` (0 to 1) within 1 %; 0 without values.

        The largest value is exact.
        """
        left = math.ceil(share * self._count)
        for index in sorted(self._bins):
            left -= self._bins[index]
            if left <= 0:
                return min(math.exp(index * _BIN), self._largest)
        return 0.0

    def summary(self) -> dict[str, float]:
        """Return `p50`, `p90`, `p99` and `max`."""
        values = {f"p{share * 100:g}": round(self.quantile(share), 6) for share in _QUANTILES}
        return values | {"max": round(self._largest, 6)}


@dataclass(frozen=True, order=True)
class StepTiming:
    """Times of one inference step, in seconds.

    `latency` is its duration, `image_age` the age of its image when the Governor got the action, `stamp` the image's
    stamp. `overhead` is the time that the node added: from the arrival of the image (or the end of the step before, if
    later) to the start of the step, and from its end until the Governor got the action.
    """

    latency: float
    image_age: float
    stamp: float
    overhead: float


class DriveTiming:
    """Rates and latencies since construction.

    Every `now` is the time of a steady clock in seconds; `command_rate` is the target in Hz.
    """

    def __init__(self, command_rate: float, now: float) -> None:
        self._period = 1.0 / command_rate
        self._begin = now
        self._commands: list[float] = []  # the first and the last
        self._intervals = self._on_time = self._images = self._steps = 0
        self._transport, self._overhead, self._latency = LogHistogram(), LogHistogram(), LogHistogram()
        self._image_age, self._queue_delay = LogHistogram(), LogHistogram()
        self._action_time: float | None = None  # since then an action waits for the next command
        self._worst: list[StepTiming] = []

    def on_image(self, age: float) -> None:
        """Count a usable image; `age` is its age at arrival, in seconds."""
        self._images += 1
        self._transport.add(age)

    def on_step(self, step: StepTiming, now: float) -> None:
        """Count a step; the Governor has its action since `now`."""
        self._steps += 1
        self._action_time = now
        self._latency.add(step.latency)
        self._image_age.add(step.image_age)
        self._overhead.add(step.overhead)
        self._worst = heapq.nlargest(_WORST, [*self._worst, step])

    def on_command(self, now: float) -> None:
        """Count a periodic command."""
        if self._commands:
            self._intervals += 1
            self._on_time += abs(now - self._commands[-1] - self._period) <= _ON_TIME * self._period
        self._commands = [*self._commands[:1], now]
        if self._action_time is not None:
            self._queue_delay.add(now - self._action_time)
            self._action_time = None

    def summary(self, now: float) -> dict[str, Any]:
        """Return values for JSON, in seconds, Hz and fractions of 1."""
        seconds = max(now - self._begin, self._period)
        commanded = self._commands[-1] - self._commands[0] if self._intervals else math.inf
        return {
            "seconds": round(seconds, 3),
            "inference": {"rate": round(self._steps / seconds, 3), "images": round(self._images / seconds, 3)},
            "commands": {
                "rate": round(self._intervals / commanded, 3),
                "target": round(1.0 / self._period, 3),
                "on_time": round(self._on_time / max(self._intervals, 1), 4),
            },
            "transport": self._transport.summary(),
            "overhead": self._overhead.summary(),
            "latency": self._latency.summary(),
            "image_age": self._image_age.summary(),
            "tick_wait": self._queue_delay.summary(),
            "worst": [{name: round(value, 6) for name, value in asdict(step).items()} for step in self._worst],
        }


def drive_report(governor: Governor, timing: DriveTiming, now: float) -> dict[str, Any]:
    """Return rates, latencies, durations of reasons and counts since activation, in seconds and Hz."""
    return {**timing.summary(now), "reasons": governor.reason_durations.summary(), "counts": dict(governor.counts)}


def format_report(report: dict[str, Any]) -> str:
    """Return a drive_report as a few lines for users."""
    inference, commands = report["inference"], report["commands"]
    reasons = ", ".join(f"{name} {s['seconds']:.1f} s ({s['times']}x)" for name, s in report["reasons"].items())
    counts = ", ".join(f"{name} {count}" for name, count in report["counts"].items() if count)
    worst = ", ".join(f"{1e3 * s['latency']:.0f} ms (image of {s['stamp']:.3f})" for s in report["worst"])
    return "\n".join(
        (
            f"drove for {report['seconds']:.1f} s",
            f"  inference {inference['rate']:.1f} Hz of {inference['images']:.1f} images/s; commands "
            f"{commands['rate']:.2f} Hz of {commands['target']:g}, {100 * commands['on_time']:.1f} % within 20 %",
            f"  latency {_format_times(report['latency'])}; "
            f"image age at the action {_format_times(report['image_age'])}",
            f"  besides the latency: transport {_format_times(report['transport'], 1)}, "
            f"the node {_format_times(report['overhead'], 1)}, "
            f"wait for the next command {_format_times(report['tick_wait'], 1)}",
            f"  reasons: {reasons or 'none'}",
            f"  counts: {counts or 'none'}",
            f"  slowest steps: {worst or 'none'}",
        )
    )


def _format_times(quantiles: dict[str, float], digits: int = 0) -> str:
    return " ".join(f"{name} {1e3 * seconds:.{digits}f}" for name, seconds in quantiles.items()) + " ms"
