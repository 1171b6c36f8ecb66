"""Measure how far the outputs of two policies differ on the same frames: the cost of a precision or a conversion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.policy.policy import Policy

INSTRUCTION = "go to the red box on the left and stop in front of it, then turn around"


@dataclass(frozen=True)
class OutputTrace:
    """Outputs of a policy on a sequence of frames: features by name [frames, width], and actions."""

    axes: tuple[str, ...]
    features: dict[str, np.ndarray]
    actions: np.ndarray  # [frames, axes]


@dataclass(frozen=True)
class OutputError:
    """Error of a policy's outputs against a reference.

    `features`: mean over the frames of |other - reference| / |reference|, by name. `actions`, by axis: RMS error /
    standard deviation of the reference's action over the frames; if that is constant, 0 without any error and else NaN.
    `largest` is the largest difference of an action, in its unit.
    """

    features: dict[str, float]
    actions: dict[str, float]
    largest: float


def trace_outputs(
    policy: Policy, frames: Iterable[np.ndarray], *, stepped: Callable[[], None] = lambda: None
) -> OutputTrace:
    """Run a policy from a fresh hidden state and record its outputs.

    `stepped` is called after each frame.
    """
    policy.reset()
    features: dict[str, list[np.ndarray]] = {name: [] for name in policy.config.features}
    actions = []
    for frame in frames:
        current = policy.features(frame, INSTRUCTION)
        actions.append(policy.act(current))
        for name, values in current.items():
            features[name].append(values[0].double().cpu().numpy())
        stepped()
    policy.reset()
    return OutputTrace(
        policy.config.action_axes, {name: np.stack(rows) for name, rows in features.items()}, np.array(actions)
    )


def compare_outputs(reference: OutputTrace, other: OutputTrace) -> OutputError:
    """Return the error of `other` against `reference`.

    Raise InputError for policies that cannot be compared: different features or axes.
    """
    if reference.features.keys() != other.features.keys() or reference.axes != other.axes:
        raise InputError("the two policies have other features or action axes: they cannot be compared")
    error = other.actions - reference.actions
    rms, std = np.sqrt((error**2).mean(axis=0)), reference.actions.std(axis=0)
    relative = np.where(std > 0.0, rms / np.maximum(std, 1e-300), np.where(rms > 0.0, np.nan, 0.0))
    features = {
        name: float(np.mean(np.linalg.norm(other.features[name] - expected, axis=1) / np.linalg.norm(expected, axis=1)))
        for name, expected in reference.features.items()
    }
    return OutputError(
        features, dict(zip(reference.axes, map(float, relative), strict=True)), float(np.abs(error).max())
    )
