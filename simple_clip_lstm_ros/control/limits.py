"""Velocity and acceleration limits, with the names, signs and order of Nav2's velocity_smoother."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from simple_clip_lstm_ros.control.velocity import AXES, Velocity
from simple_clip_lstm_ros.errors import ConfigError


class SignRule(NamedTuple):
    """Allowed sign of a limit: a test, and the same in words for an error."""

    test: Callable[[float], bool]
    words: str


SIGN_RULES = {
    "max_velocity": SignRule(lambda v: v >= 0.0, "zero or positive"),
    "min_velocity": SignRule(lambda v: v <= 0.0, "zero or negative"),
    "max_accel": SignRule(lambda v: v > 0.0, "positive"),
    "max_decel": SignRule(lambda v: v < 0.0, "negative"),
    "deadband_velocity": SignRule(lambda v: v >= 0.0, "zero or positive"),
}


@dataclass(frozen=True)
class Limits:
    """Limits as (linear.x, linear.y, angular.z), in m/s, m/s, rad/s, accelerations in these per second.

    `max_decel` is negative and `min_velocity` is the limit in the negative direction, as in Nav2.
    Raise ConfigError for a value that has the wrong sign, is not finite or is not a triple.
    """

    max_velocity: Sequence[float] = (0.3, 0.3, 0.8)
    min_velocity: Sequence[float] = (-0.3, -0.3, -0.8)
    max_accel: Sequence[float] = (1.0, 1.0, 2.0)
    max_decel: Sequence[float] = (-1.5, -1.5, -3.0)
    deadband_velocity: Sequence[float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            is_allowed, words = SIGN_RULES[field.name]
            if len(values) != len(AXES):
                raise ConfigError(f"{field.name} needs three values ({', '.join(AXES)}), not {len(values)}")
            if not all(math.isfinite(value) and is_allowed(value) for value in values):
                raise ConfigError(f"{field.name} must be finite and {words} on every axis, not {list(values)}")

    def clamp(self, velocity: Velocity) -> Velocity:
        """Scale all axes by one factor until none exceeds its limit; this keeps the curvature.

        A limit of zero means that the robot lacks the axis: it becomes zero and does not slow the others.
        """
        factor = 1.0
        for value, upper, lower in zip(velocity.as_tuple(), self.max_velocity, self.min_velocity, strict=True):
            if value > upper > 0.0:
                factor = min(factor, upper / value)
            elif value < lower < 0.0:
                factor = min(factor, lower / value)
        # Clamp again: rounding can exceed the limit.
        bounds = zip(velocity.as_tuple(), self.max_velocity, self.min_velocity, strict=True)
        return Velocity(*(max(min(value * factor, upper), lower) for value, upper, lower in bounds))

    def ramp(self, current: Velocity, target: Velocity, dt: float) -> Velocity:
        """Return the velocity after `dt` seconds on the straight line from `current` to `target`.

        Accelerations stay within `max_accel` and `max_decel`.
        """
        share = 1.0
        axes = zip(current.as_tuple(), target.as_tuple(), self.max_accel, self.max_decel, strict=True)
        for now, goal, accel, decel in axes:
            is_slowing = abs(goal) < abs(now) or now * goal < 0.0
            step = (-decel if is_slowing else accel) * dt
            if abs(goal - now) > step:
                share = min(share, step / abs(goal - now))
        if share == 1.0:
            return target
        pairs = zip(current.as_tuple(), target.as_tuple(), strict=True)
        return Velocity(*(now + share * (goal - now) for now, goal in pairs))

    def apply_deadband(self, velocity: Velocity) -> Velocity:
        """Set axes slower than their deadband to zero: motors would hum there and not turn."""
        pairs = zip(velocity.as_tuple(), self.deadband_velocity, strict=True)
        return Velocity(*(0.0 if abs(value) < deadband else value for value, deadband in pairs))
