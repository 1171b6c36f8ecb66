"""Metrics of a policy: action errors on recorded episodes, and success rates over drives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from simple_clip_lstm_ros.control.velocity import AXES
from simple_clip_lstm_ros.data.dataset import LabelledEpisode
from simple_clip_lstm_ros.data.dataset_stats import OTHER, AxisStats
from simple_clip_lstm_ros.errors import EpisodeError, InputError
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.sim.scenario import Scenario
from simple_clip_lstm_ros.sim.world import STEP, World

MOVING = 0.05  # m/s, rad/s: a slower recorded action has no direction
_ROUNDING = 1e-6
_BATCH = 32  # frames per read: one by one is slower, and a whole drive may not fit into memory


@dataclass(frozen=True)
class AxisError:
    """Mean absolute errors of one axis in its unit, or their means over all axes, mixing m/s and rad/s.

    `mean_error` and `median_error` are those of the best constants for the same frames. `moving` counts the actions
    recorded faster than MOVING, `followed` those of them that the prediction matches in sign.
    """

    error: float
    mean_error: float
    median_error: float
    moving: int
    followed: int

    @classmethod
    def of(cls, predicted: np.ndarray, recorded: np.ndarray) -> AxisError:
        baseline, moving = AxisStats.of(recorded), np.abs(recorded) > MOVING
        followed = moving & (np.sign(predicted) == np.sign(recorded))
        error = float(np.abs(predicted - recorded).mean())
        return cls(error, baseline.mean_error, baseline.median_error, int(moving.sum()), int(followed.sum()))

    @classmethod
    def over(cls, axes: Sequence[AxisError]) -> AxisError:
        columns = zip(*((each.error, each.mean_error, each.median_error) for each in axes), strict=True)
        error, mean_error, median_error = (float(np.mean(column)) for column in columns)
        moving, followed = sum(each.moving for each in axes), sum(each.followed for each in axes)
        return cls(error, mean_error, median_error, moving, followed)

    @property
    def constant_error(self) -> float:
        """Return the error of the better constant."""
        return min(self.mean_error, self.median_error)

    @property
    def is_better(self) -> bool:
        """Return whether the error is below that of any constant, by more than rounding."""
        return self.error < self.constant_error * (1.0 - _ROUNDING)

    @property
    def direction(self) -> float:
        return self.followed / self.moving if self.moving else math.nan


@dataclass(frozen=True)
class ErrorSummary:
    """Errors over some episodes; `overall` is over all axes."""

    episodes: int
    frames: int
    axes: dict[str, AxisError]
    overall: AxisError

    @classmethod
    def of(cls, pairs: Sequence[np.ndarray], axes: Sequence[str]) -> ErrorSummary:
        """Summarize arrays [2, T, axes], one per episode: predicted and recorded."""
        predicted, recorded = np.concatenate(pairs, axis=1)
        fits = {axis: AxisError.of(predicted[:, column], recorded[:, column]) for column, axis in enumerate(axes)}
        return cls(len(pairs), len(recorded), fits, AxisError.over([*fits.values()]))

    def as_plain(self) -> dict[str, Any]:
        fits = {name: _to_plain(fit) for name, fit in self.axes.items()}
        return {"episodes": self.episodes, "frames": self.frames, "axes": fits, "overall": _to_plain(self.overall)}


@dataclass(frozen=True)
class OfflineResult:
    """Errors in `total` and by scenario name, sorted; `unreadable` maps files with damaged images to the reason."""

    total: ErrorSummary
    scenarios: dict[str, ErrorSummary]
    unreadable: dict[str, str]


def evaluate_offline(
    policy: Policy, episodes: Sequence[LabelledEpisode], stepped: Callable[[], None] = lambda: None
) -> OfflineResult:
    """Run the policy on each episode from a fresh hidden state. Call `stepped` after each frame.

    Raise InputError for an instruction or a frame that the policy rejects, EpisodeError if nothing can be read.
    """
    columns = [AXES.index(axis) for axis in policy.config.action_axes]
    pairs: dict[str, list[np.ndarray]] = {}
    unreadable: dict[str, str] = {}
    for each in episodes:
        try:
            predicted = _predict_actions(policy, each, stepped)
        except EpisodeError as error:
            unreadable[str(each.file)] = str(error)
        else:
            scenario = str(Scenario.parse(each.episode.name) or OTHER)
            pairs.setdefault(scenario, []).append(np.stack([predicted, each.velocities[:, columns]]))
    if not pairs:
        raise EpisodeError(f"no episode could be read: {next(iter(unreadable.values()))}")
    axes = policy.config.action_axes
    total = ErrorSummary.of([pair for scenario_pairs in pairs.values() for pair in scenario_pairs], axes)
    scenarios = {name: ErrorSummary.of(scenario_pairs, axes) for name, scenario_pairs in sorted(pairs.items())}
    return OfflineResult(total, scenarios, unreadable)


def format_verdict(errors: ErrorSummary) -> str:
    """Return one sentence: whether the policy beats the better constant."""
    overall = errors.overall
    if not math.isfinite(overall.error):
        return "WARNING: some actions of this policy are not finite, and its error is not known"
    comparison = f"over all axes its error is {overall.error:.3f}, that of a constant {overall.constant_error:.3f}"
    if not overall.is_better:
        return f"WARNING: this policy is no better than a constant: {comparison}"
    worse = [axis for axis, fit in errors.axes.items() if not fit.is_better]
    exception = f", though not on {', '.join(worse)}" if worse else ""
    less = 1.0 - overall.error / overall.constant_error
    return f"this policy is better than a constant: {comparison} ({less:.0%} less){exception}"


def _predict_actions(policy: Policy, labelled: LabelledEpisode, stepped: Callable[[], None]) -> np.ndarray:
    """Return the predicted actions [T, axes]. Leave the policy with a fresh hidden state."""
    actions = []
    policy.reset()
    try:
        for start in range(0, len(labelled.episode), _BATCH):
            for frame in labelled.episode.frames(range(start, min(start + _BATCH, len(labelled.episode)))):
                actions.append(policy.step(frame, labelled.instruction).values)
                stepped()
    except InputError as error:
        raise InputError(f"{labelled.file}: {error}") from None
    finally:
        policy.reset()
    return np.array(actions)


def _to_plain(fit: AxisError) -> dict[str, Any]:
    return {**asdict(fit), "direction": fit.direction}


@dataclass(frozen=True)
class Proportion:
    """`count` of `total` with its 95 % Wilson (1927) interval, which is (0, 1) for a total of 0."""

    count: int
    total: int

    @property
    def value(self) -> float:
        return self.count / self.total if self.total else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        if not self.total:
            return (0.0, 1.0)
        return wilson_interval(self.count, self.total)

    def __str__(self) -> str:
        if not self.total:
            return "of none"
        low, high = self.interval
        return f"{self.value:.1%} ({low:.0%} to {high:.0%})"


@dataclass(frozen=True)
class DriveMetrics:
    """Metrics over drives: `time` (s) and `length` (m) are means over the successful ones.

    `obeyed` is the share of the drives past all boxes that passed on the named side.
    `mean_yaw_acceleration` is the mean of |d yaw rate / dt| over all drives, rad/s².
    """

    success: Proportion
    obeyed: Proportion
    contact: Proportion
    time: float
    length: float
    mean_yaw_acceleration: float


def wilson_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share: `count` of `total`, which is at least 1.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212; the closed form without continuity correction is method 3 of R. G.
    Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), 857-872.
    """
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    share, weight = count / total, z * z / total
    middle = (share + weight / 2.0) / (1.0 + weight)
    half = z / (1.0 + weight) * math.sqrt(share * (1.0 - share) / total + weight / (4.0 * total))
    # At its ends the interval is exact: rounding must not lead beyond them.
    return (0.0 if count == 0 else middle - half, 1.0 if count == total else middle + half)


def summarize_drives(worlds: Sequence[World]) -> DriveMetrics:
    """Summarize finished drives; at least one."""
    outcomes = [world.outcome for world in worlds]
    passed, successful = [each for each in outcomes if each.passed], [each for each in outcomes if each.success]
    return DriveMetrics(
        success=Proportion(len(successful), len(outcomes)),
        obeyed=Proportion(sum(each.obeyed for each in passed), len(passed)),
        contact=Proportion(sum(each.contact for each in outcomes), len(outcomes)),
        time=_mean([each.time for each in successful]),
        length=_mean([each.length for each in successful]),
        mean_yaw_acceleration=_mean([_mean_yaw_acceleration(world) for world in worlds]),
    )


def _mean_yaw_acceleration(world: World) -> float:
    yaw = np.unwrap([pose.yaw for pose in world.path])
    return float(np.abs(np.diff(yaw, 2)).mean() / STEP**2) if len(yaw) > 2 else 0.0


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
