"""The robot's base: it follows commanded velocities late, within its limits, and not quite."""

from __future__ import annotations

import math
from collections import deque

from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.sim.layout import BaseDynamics, Pose

DIFFERENTIAL = Limits((0.5, 0.0, 1.2), (-0.5, 0.0, -1.2), (1.0, 1.0, 3.0), (-1.5, -1.5, -4.0))
OMNIDIRECTIONAL = Limits((0.5, 0.5, 1.2), (-0.5, -0.5, -1.2), (1.0, 1.0, 3.0), (-1.5, -1.5, -4.0))
RADIUS = 0.15  # m, of the round robot
TIMEOUT = 0.5  # s without a command, after which a base stops by itself


class MobileBase:
    """A base at `pose`. `limits` say of which kind it is: an axis whose limit is zero it does not have."""

    def __init__(self, pose: Pose, body: BaseDynamics, limits: Limits = DIFFERENTIAL) -> None:
        self.pose = pose
        self.velocity = ZERO
        self.time = 0.0  # s
        self._body = body
        self._limits = limits
        self._commands: deque[tuple[float, Velocity]] = deque()
        self._heard = (0.0, ZERO)

    def command(self, velocity: Velocity) -> None:
        """It takes effect after the body's latency."""
        self._commands.append((self.time, velocity))

    def advance(self, dt: float) -> None:
        """Drive on for a short time (s), in which the velocity changes little."""
        while self._commands and self._commands[0][0] + self._body.latency <= self.time:
            self._heard = self._commands.popleft()
        since, wanted = self._heard
        if self.time - since > TIMEOUT + self._body.latency:
            wanted = ZERO
        self.velocity = self._limits.ramp(self.velocity, self._limits.clamp(wanted), dt)
        self.pose = self._moved(dt)
        self.time += dt

    def stop_at(self, pose: Pose) -> None:
        """Stand at this pose: something is in the way."""
        self.pose, self.velocity = pose, ZERO

    def _moved(self, dt: float) -> Pose:
        linear, angular = (1.0 - slip for slip in self._body.slip)
        turned = self.velocity.angular_z * angular * dt
        forward, left = self.velocity.linear_x * linear * dt, self.velocity.linear_y * linear * dt
        heading = self.pose.yaw + turned / 2  # of the chord
        return Pose(
            self.pose.x + forward * math.cos(heading) - left * math.sin(heading),
            self.pose.y + forward * math.sin(heading) + left * math.cos(heading),
            math.remainder(self.pose.yaw + turned, math.tau),
        )
