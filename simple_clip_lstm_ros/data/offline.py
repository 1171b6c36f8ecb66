"""How near a policy comes to what was commanded on recorded drives, beside a constant that looks at nothing.

Open loop: the frames are those of the recorded drive, whatever the policy answers. So this tells whether it has learnt
something of such drives, and not whether it drives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from simple_clip_lstm_ros.control.velocity import AXES
from simple_clip_lstm_ros.data.recordings import Recording
from simple_clip_lstm_ros.data.summary import OTHER, Axis
from simple_clip_lstm_ros.errors import EpisodeError, InputError
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.sim.scenario import Scenario

MOVING = 0.05  # m/s, rad/s: what was commanded slower than this has no direction to follow
_ROUNDING = 1e-6
_AT_ONCE = 32  # frames read together: one by one takes longer, and a whole drive may not fit into memory


@dataclass(frozen=True)
class Fit:
    """Mean absolute errors of one axis in its unit, or their means over all axes, m/s and rad/s alike.

    `mean_error` and `median_error` are those of the best constants for the very same frames. Of the `moving` actions
    (recorded faster than MOVING), `followed` have the recorded one's sign.
    """

    error: float
    mean_error: float
    median_error: float
    moving: int
    followed: int

    @classmethod
    def of(cls, predicted: np.ndarray, recorded: np.ndarray) -> Fit:
        constant, moving = Axis.of(recorded), np.abs(recorded) > MOVING
        followed = moving & (np.sign(predicted) == np.sign(recorded))
        error = float(np.abs(predicted - recorded).mean())
        return cls(error, constant.mean_error, constant.median_error, int(moving.sum()), int(followed.sum()))

    @classmethod
    def over(cls, axes: Sequence[Fit]) -> Fit:
        columns = zip(*((each.error, each.mean_error, each.median_error) for each in axes), strict=True)
        error, mean_error, median_error = (float(np.mean(column)) for column in columns)
        moving, followed = sum(each.moving for each in axes), sum(each.followed for each in axes)
        return cls(error, mean_error, median_error, moving, followed)

    @property
    def constant_error(self) -> float:
        """Of the better constant."""
        return min(self.mean_error, self.median_error)

    @property
    def is_better(self) -> bool:
        """Than any constant, and by more than rounding."""
        return self.error < self.constant_error * (1.0 - _ROUNDING)

    @property
    def direction(self) -> float:
        return self.followed / self.moving if self.moving else math.nan


@dataclass(frozen=True)
class Group:
    """Some episodes; `overall` is over all axes."""

    episodes: int
    frames: int
    axes: dict[str, Fit]
    overall: Fit

    @classmethod
    def of(cls, pairs: Sequence[np.ndarray], axes: Sequence[str]) -> Group:
        """Of arrays [2, T, axes], one for each episode: predicted and recorded."""
        predicted, recorded = np.concatenate(pairs, axis=1)
        fits = {axis: Fit.of(predicted[:, column], recorded[:, column]) for column, axis in enumerate(axes)}
        return cls(len(pairs), len(recorded), fits, Fit.over([*fits.values()]))

    def as_plain(self) -> dict[str, Any]:
        fits = {name: _plain(fit) for name, fit in self.axes.items()}
        return {"episodes": self.episodes, "frames": self.frames, "axes": fits, "overall": _plain(self.overall)}


@dataclass(frozen=True)
class Offline:
    """`scenarios` by their names, sorted; `unreadable` are files whose images turned out to be damaged, and why."""

    total: Group
    scenarios: dict[str, Group]
    unreadable: dict[str, str]


def offline(policy: Policy, recordings: Sequence[Recording], stepped: Callable[[], None] = lambda: None) -> Offline:
    """Steps through each from a fresh hidden state; `stepped` is called after each frame.

    Raises InputError for an instruction or a frame that the policy refuses, EpisodeError if nothing can be read.
    """
    columns = [AXES.index(axis) for axis in policy.config.action_axes]
    pairs: dict[str, list[np.ndarray]] = {}
    unreadable: dict[str, str] = {}
    for each in recordings:
        try:
            predicted = _actions(policy, each, stepped)
        except EpisodeError as error:
            unreadable[str(each.file)] = str(error)
        else:
            scenario = str(Scenario.named_in(each.episode.name) or OTHER)
            pairs.setdefault(scenario, []).append(np.stack([predicted, each.velocities[:, columns]]))
    if not pairs:
        raise EpisodeError(f"no episode could be read: {next(iter(unreadable.values()))}")
    axes = policy.config.action_axes
    total = Group.of([pair for found in pairs.values() for pair in found], axes)
    return Offline(total, {name: Group.of(found, axes) for name, found in sorted(pairs.items())}, unreadable)


def verdict(found: Group) -> str:
    """In one sentence: does it beat the better constant?"""
    overall = found.overall
    if not math.isfinite(overall.error):
        return "WARNING: some actions of this policy are not finite, and its error is not known"
    errors = f"over all axes its error is {overall.error:.3f}, that of a constant {overall.constant_error:.3f}"
    if not overall.is_better:
        return f"WARNING: this policy is no better than a constant: {errors}"
    worse = [axis for axis, fit in found.axes.items() if not fit.is_better]
    though = f", though not on {', '.join(worse)}" if worse else ""
    less = 1.0 - overall.error / overall.constant_error
    return f"this policy is better than a constant: {errors} ({less:.0%} less){though}"


def _actions(policy: Policy, recording: Recording, stepped: Callable[[], None]) -> np.ndarray:
    """[T, axes]. The policy is left with a fresh hidden state."""
    actions = []
    policy.reset()
    try:
        for begin in range(0, len(recording.episode), _AT_ONCE):
            for frame in recording.episode.frames(range(begin, min(begin + _AT_ONCE, len(recording.episode)))):
                actions.append(policy.step(frame, recording.instruction).values)
                stepped()
    except InputError as error:
        raise InputError(f"{recording.file}: {error}") from None
    finally:
        policy.reset()
    return np.array(actions)


def _plain(fit: Fit) -> dict[str, Any]:
    return {**asdict(fit), "direction": fit.direction}
