"""Summarize step profiles: percentiles, share of the machine's limit, and output error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from simple_clip_lstm_ros.benchmark.step_profile import StepProfile, contention, to_output_trace
from simple_clip_lstm_ros.engine.output_error import OutputError, compare_outputs

# Largest RMS error of an action, over its standard deviation, at which a precision counts as the same policy.
GATE = 0.05


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of step times, in seconds."""

    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Percentiles:
        return cls(*map(float, np.percentile(seconds, (50, 90, 99))))


@dataclass(frozen=True)
class BenchmarkResult:
    """Summary of a benchmarked case.

    `limit`, `limits`: lower bounds in seconds on this machine, for a frame and for each component. `others` is the
    share of the CPUs that other processes used meanwhile, `cores` the number of CPUs that this process kept busy,
    `faults` the number of memory pages that had to be read from disk again. `error` is against the baseline over all
    frames, `late_error` over the last quarter of them: the error accumulated in the hidden state. Both are None without
    a baseline.
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
        """Return the limit as a share of the median frame time."""
        return self.limit / self.frame.p50

    @property
    def passes(self) -> bool | None:
        """Return whether each action's error is within the gate; None without a baseline."""
        if self.error is None:
            return None
        return all(error <= GATE for error in self.error.actions.values())


def summarize(
    profiles: Sequence[StepProfile],
    limits: Mapping[str, float],
    axes: tuple[str, ...],
    baseline: Sequence[StepProfile] | None,
) -> BenchmarkResult:
    """Summarize the step profiles of a case.

    `limits` are those of `roofline.lower_bounds`; `baseline` was run on the same frames, or is None.
    """
    names = {name: None for profile in profiles for name in profile.components}
    components = {name: Percentiles.of([profile.components.get(name, 0.0) for profile in profiles]) for name in names}
    return BenchmarkResult(
        Percentiles.of([profile.seconds for profile in profiles]),
        components,
        sum(limits.values()),
        dict(limits),
        contention(profiles),
        sum(profile.cpu_seconds for profile in profiles) / sum(profile.seconds for profile in profiles),
        sum(profile.faults for profile in profiles),
        _error(baseline, profiles, axes),
        _error(baseline[-_quarter(profiles) :], profiles[-_quarter(profiles) :], axes) if baseline else None,
    )


def _quarter(profiles: Sequence[StepProfile]) -> int:
    return max(2, len(profiles) // 4)


def _error(
    baseline: Sequence[StepProfile] | None, profiles: Sequence[StepProfile], axes: tuple[str, ...]
) -> OutputError | None:
    return compare_outputs(to_output_trace(baseline, axes), to_output_trace(profiles, axes)) if baseline else None


def to_plain(result: BenchmarkResult) -> dict[str, object]:
    """Return the result as a dict, ready for JSON."""
    return asdict(result) | {"share": result.share, "passes": result.passes, "gate": GATE}
