"""A simulated world: the robot in its layout, its camera, and the outcome of the drive."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely

from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.sim.layout import Layout, Pose
from simple_clip_lstm_ros.sim.mobile_base import DIFFERENTIAL, RADIUS, MobileBase
from simple_clip_lstm_ros.sim.renderer import CameraRenderer

REACH = 0.3  # m from the center of the cup
TIME_LIMIT = 60.0  # s
SIZE = (120, 160)  # of frames: height, width
STEP = 0.02  # s


@dataclass(frozen=True)
class Outcome:
    """The result of a drive; `side` is the side on which all boxes were passed, None if not all or not on one side."""

    reached: bool
    contact: bool
    side: str | None
    passed: bool  # all boxes, on any side
    obeyed: bool  # all boxes, on the named side
    time: float  # s
    length: float  # m

    @property
    def success(self) -> bool:
        return self.reached and self.obeyed and not self.contact

    @property
    def ended(self) -> bool:
        return self.reached or self.contact or self.time >= TIME_LIMIT


class World:
    """Simulates one drive: `command` and `advance` move the robot, `frame` renders its camera, `outcome` is the result.

    Deterministic for the same layout and commands. Obstacles block the robot.
    """

    def __init__(self, layout: Layout, *, limits: Limits = DIFFERENTIAL, size: tuple[int, int] = SIZE) -> None:
        """Create the world; its frames have `size` (height, width)."""
        self.layout = layout
        self.base = MobileBase(layout.start, layout.dynamics, limits)
        self.path = [layout.start]  # poses, one per STEP
        self._renderer = CameraRenderer(layout, size, np.random.default_rng(layout.seed))
        self._obstacles = layout.obstacles
        shapely.prepare(self._obstacles)
        self._contact = self._reached = False
        self._length = 0.0
        self._sides = [0] * len(layout.boxes)

    def frame(self) -> np.ndarray:
        """Render the camera now, uint8 [height, width, 3] in RGB."""
        return self._renderer(self.base.pose)

    def command(self, velocity: Velocity) -> None:
        self.base.command(velocity)

    def advance(self, seconds: float) -> None:
        """Simulate `seconds`, a multiple of STEP."""
        for _ in range(round(seconds / STEP)):
            before = self.base.pose
            self.base.advance(STEP)
            if shapely.dwithin(self._obstacles, shapely.Point(self.base.pose.x, self.base.pose.y), RADIUS):
                self._contact = True
                self.base.stop_at(before)
            self._update_outcome(before, self.base.pose)
            self.path.append(self.base.pose)

    def _update_outcome(self, before: Pose, now: Pose) -> None:
        """Update progress: reaching the cup is final; driving back past a box makes it not passed."""
        cup = self.layout.cup
        self._length += math.hypot(now.x - before.x, now.y - before.y)
        self._reached |= math.hypot(cup.x - now.x, cup.y - now.y) <= REACH
        for index, box in enumerate(self.layout.boxes):
            (past_before, _), (past, left) = (self.layout.axis_offset(box.pose, pose) for pose in (before, now))
            if past_before <= 0.0 < past:
                self._sides[index] = 1 if left > 0.0 else -1
            elif past <= 0.0 < past_before:
                self._sides[index] = 0

    @property
    def outcome(self) -> Outcome:
        passed = 0 not in self._sides
        same_side = passed and len(set(self._sides)) == 1
        side = ("left" if self._sides[0] > 0 else "right") if same_side else None
        return Outcome(
            reached=self._reached,
            contact=self._contact,
            side=side,
            passed=passed,
            obeyed=side == self.layout.scenario.side,
            time=self.base.time,
            length=self._length,
        )
