"""Planar velocity in REP-103 axes, and the axis names of policy outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

AXES = ("linear.x", "linear.y", "angular.z")
UNITS = {"linear.x": "m/s", "linear.y": "m/s", "angular.z": "rad/s"}


@dataclass(frozen=True)
class Velocity:
    """Planar velocity: forward (m/s), left (m/s) and counter-clockwise (rad/s), REP-103."""

    linear_x: float = 0.0
    linear_y: float = 0.0
    angular_z: float = 0.0

    @classmethod
    def from_axes(cls, values: Sequence[float], axes: Sequence[str]) -> Velocity:
        """Put `values[i]` on the axis `axes[i]` (one of `AXES`); the others stay zero."""
        by_axis = dict(zip(axes, values, strict=True))
        return cls(*(float(by_axis.get(axis, 0.0)) for axis in AXES))

    @classmethod
    def from_twist(cls, message: Any) -> Velocity:
        """Return the planar part of a Twist or TwistStamped of ROS or of a bag (duck-typed).

        Return NaN on all axes if another field is not finite: such a message is broken as a whole.
        """
        twist = getattr(message, "twist", message)
        if not all(map(math.isfinite, (twist.linear.z, twist.angular.x, twist.angular.y))):
            return cls(math.nan, math.nan, math.nan)
        return cls(twist.linear.x, twist.linear.y, twist.angular.z)

    def as_tuple(self) -> tuple[float, float, float]:
        return (self.linear_x, self.linear_y, self.angular_z)

    def decelerated_toward(self, target: Velocity) -> Velocity:
        """Return this velocity, slowed on each axis to `target` if slower; zero where the sign changes."""
        pairs = zip(self.as_tuple(), target.as_tuple(), strict=True)
        return Velocity(*(max(min(now, max(goal, 0.0)), min(goal, 0.0)) for now, goal in pairs))

    @property
    def is_finite(self) -> bool:
        return all(math.isfinite(value) for value in self.as_tuple())

    @property
    def is_zero(self) -> bool:
        return self == ZERO


ZERO = Velocity()
