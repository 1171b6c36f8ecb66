"""One world: a robot among boxes on its way to a cup, what it sees, and what becomes of it."""

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

REACH = 0.3  # m from the middle of the cup
TIME_LIMIT = 60.0  # s
SIZE = (120, 160)  # of pictures: height, width
STEP = 0.02  # s


@dataclass(frozen=True)
class Outcome:
    """`side` is that on which the robot passed all boxes; None where it has not, or not all on the same."""

    reached: bool
    contact: bool
    side: str | None
    passed: bool  # all boxes, on whichever side
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
    """`command` and `advance` drive the robot, `frame` shows what it sees, `outcome` judges it.

    The same for the same layout and commands. What is solid blocks the robot.
    """

    def __init__(self, layout: Layout, *, limits: Limits = DIFFERENTIAL, size: tuple[int, int] = SIZE) -> None:
        """`size` is (height, width) of the pictures."""
        self.layout = layout
        self.base = MobileBase(layout.start, layout.body, limits)
        self.path = [layout.start]  # poses, one each STEP
        self._picture = CameraRenderer(layout, size, np.random.default_rng(layout.seed))
        self._solid = layout.solid
        shapely.prepare(self._solid)
        self._contact = self._reached = False
        self._length = 0.0
        self._sides = [0] * len(layout.boxes)

    def frame(self) -> np.ndarray:
        """What the camera sees now, uint8 [height, width, 3] in RGB."""
        return self._picture(self.base.pose)

    def command(self, velocity: Velocity) -> None:
        self.base.command(velocity)

    def advance(self, seconds: float) -> None:
        """Drive on for a multiple of STEP."""
        for _ in range(round(seconds / STEP)):
            before = self.base.pose
            self.base.advance(STEP)
            if shapely.dwithin(self._solid, shapely.Point(self.base.pose.x, self.base.pose.y), RADIUS):
                self._contact = True
                self.base.stop_at(before)
            self._judge(before, self.base.pose)
            self.path.append(self.base.pose)

    def _judge(self, before: Pose, now: Pose) -> None:
        """What has been reached stays so; a box that is passed back again is not passed."""
        cup = self.layout.cup
        self._length += math.hypot(now.x - before.x, now.y - before.y)
        self._reached |= math.hypot(cup.x - now.x, cup.y - now.y) <= REACH
        for index, box in enumerate(self.layout.boxes):
            (was, _), (beyond, left) = (self.layout.abeam(box.pose, pose) for pose in (before, now))
            if was <= 0.0 < beyond:
                self._sides[index] = 1 if left > 0.0 else -1
            elif beyond <= 0.0 < was:
                self._sides[index] = 0

    @property
    def outcome(self) -> Outcome:
        passed = 0 not in self._sides
        same = passed and len(set(self._sides)) == 1
        side = ("left" if self._sides[0] > 0 else "right") if same else None
        return Outcome(
            reached=self._reached,
            contact=self._contact,
            side=side,
            passed=passed,
            obeyed=side == self.layout.scenario.side,
            time=self.base.time,
            length=self._length,
        )
