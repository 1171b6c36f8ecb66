"""What laps amount to: percentiles, share of the machine's limit, and the error beside the speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from simple_clip_lstm_ros.benchmark.step_profile import StepProfile, contention, to_output_trace
from simple_clip_lstm_ros.engine.output_error import OutputError, compare_outputs

# Largest RMS error of an action over its standard deviation with which a precision still is the same policy.
GATE = 0.05


@dataclass(frozen=True)
class Percentiles:
    """Of seconds."""

    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Percentiles:
        return cls(*map(float, np.percentile(seconds, (50, 90, 99))))


@dataclass(frozen=True)
class BenchmarkResult:
    """`limit`, `limits`: seconds that the machine takes at least, for a frame and for each component.

    `others` is the share of the CPUs that other processes took meanwhile, `cores` how many this one kept busy,
    `faults` the pages of memory that had to be read from a disk again.
    `error` is against the baseline over all frames, `late_error` over the last quarter of them: what the hidden state
    has gathered. Both None without a baseline.
    """

    frame: Percentiles
    components: dict[str, Percentiles]
    limit: float
    limits: dict[str, float]
    others: float
    cores: float
    faults: int
    error: OutputError | None
    late_error: OutputError | None

    @property
    def share(self) -> float:
        """Of the limit that is reached."""
        return self.limit / self.frame.p50

    @property
    def passes(self) -> bool | None:
        """Whether each action's error is within the gate; None where nothing is known."""
        if self.error is None:
            return None
        return all(error <= GATE for error in self.error.actions.values())


def summarize(
    laps: Sequence[StepProfile],
    limits: Mapping[str, float],
    axes: tuple[str, ...],
    baseline: Sequence[StepProfile] | None,
) -> BenchmarkResult:
    """`limits` as `work.limits` gives them; `baseline` saw the same frames, or is not there."""
    names = {name: None for lap in laps for name in lap.components}
    components = {name: Percentiles.of([lap.components.get(name, 0.0) for lap in laps]) for name in names}
    return BenchmarkResult(
        Percentiles.of([lap.seconds for lap in laps]),
        components,
        sum(limits.values()),
        dict(limits),
        contention(laps),
        sum(lap.own for lap in laps) / sum(lap.seconds for lap in laps),
        sum(lap.faults for lap in laps),
        _error(baseline, laps, axes),
        _error(baseline[-_quarter(laps) :], laps[-_quarter(laps) :], axes) if baseline else None,
    )


def _quarter(laps: Sequence[StepProfile]) -> int:
    return max(2, len(laps) // 4)


def _error(
    baseline: Sequence[StepProfile] | None, laps: Sequence[StepProfile], axes: tuple[str, ...]
) -> OutputError | None:
    return compare_outputs(to_output_trace(baseline, axes), to_output_trace(laps, axes)) if baseline else None


def to_plain(summarize: BenchmarkResult) -> dict[str, object]:
    """For JSON."""
    return asdict(summarize) | {"share": summarize.share, "passes": summarize.passes, "gate": GATE}
