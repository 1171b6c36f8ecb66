"""A mobile base that follows commanded velocities with latency, limits and slip."""

from __future__ import annotations

import math
from collections import deque

from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.sim.layout import BaseDynamics, Pose

DIFFERENTIAL = Limits((0.5, 0.0, 1.2), (-0.5, 0.0, -1.2), (1.0, 1.0, 3.0), (-1.5, -1.5, -4.0))
OMNIDIRECTIONAL = Limits((0.5, 0.5, 1.2), (-0.5, -0.5, -1.2), (1.0, 1.0, 3.0), (-1.5, -1.5, -4.0))
RADIUS = 0.15  # m, of the circular robot
TIMEOUT = 0.5  # s without a command, after which the base stops by itself


class MobileBase:
    """A base at `pose`. `limits` define its kind: it cannot move along an axis whose limit is zero."""

    def __init__(self, pose: Pose, dynamics: BaseDynamics, limits: Limits = DIFFERENTIAL) -> None:
        self.pose = pose
        self.velocity = ZERO
        self.time = 0.0  # s
        self._dynamics = dynamics
        self._limits = limits
        self._commands: deque[tuple[float, Velocity]] = deque()
        self._active_command = (0.0, ZERO)

    def command(self, velocity: Velocity) -> None:
        """Queue a command that takes effect after the base's latency."""
        self._commands.append((self.time, velocity))

    def advance(self, dt: float) -> None:
        """Simulate `dt` seconds: short enough for the velocity to change little."""
        while self._commands and self._commands[0][0] + self._dynamics.latency <= self.time:
            self._active_command = self._commands.popleft()
        received, target = self._active_command
        if self.time - received > TIMEOUT + self._dynamics.latency:
            target = ZERO
        self.velocity = self._limits.ramp(self.velocity, self._limits.clamp(target), dt)
        self.pose = self._integrate(dt)
        self.time += dt

    def stop_at(self, pose: Pose) -> None:
        """Stop at this pose, blocked by an obstacle."""
        self.pose, self.velocity = pose, ZERO

    def _integrate(self, dt: float) -> Pose:
        linear, angular = (1.0 - slip for slip in self._dynamics.slip)
        turned = self.velocity.angular_z * angular * dt
        forward, left = self.velocity.linear_x * linear * dt, self.velocity.linear_y * linear * dt
        heading = self.pose.yaw + turned / 2  # direction of the chord
        return Pose(
            self.pose.x + forward * math.cos(heading) - left * math.sin(heading),
            self.pose.y + forward * math.sin(heading) + left * math.cos(heading),
            math.remainder(self.pose.yaw + turned, math.tau),
        )
