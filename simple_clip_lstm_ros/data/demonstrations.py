"""Drives through worlds of `sim`, and at each frame what the expert would do there.

Who drives need not be the expert: a policy that learns from an expert's drives alone never sees how to recover from
its own mistakes (Ross, Gordon, Bagnell 2011, DAgger).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from shapely import LineString, Point

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.sim.expert import Expert
from simple_clip_lstm_ros.sim.layout import Layout, Pose
from simple_clip_lstm_ros.sim.world import Outcome, World

PERIOD = 0.2  # s between frames
LANDMARKS = ("cup", "first box", "second box", "way at 0.5 m", "way at 1 m")
_REST = 5  # frames at the cup, so that a policy learns to stop there
_DRIFT = 0.7  # how much of a disturbance is left one frame later

Driver = Callable[[np.ndarray, Velocity], Velocity]  # a frame and what the expert would command -> what is commanded


@dataclass(frozen=True)
class Lesson:
    """`actions` are the expert's; `landmarks` lie in the robot's axes (m), NaN where the world has no such thing."""

    instruction: str
    frames: np.ndarray  # uint8 [T, height, width, 3], RGB
    actions: np.ndarray  # float32 [T, 3]: linear.x, linear.y, angular.z
    landmarks: np.ndarray  # float32 [T, len(LANDMARKS), 2]


@dataclass(frozen=True)
class Demonstration(Lesson):
    """One drive, and how it ended."""

    outcome: Outcome


def demonstrate(world: World, instruction: str, driver: Driver, *, until: float = 40.0) -> Demonstration:
    """From where the robot is, until the cup is reached, something is touched, or the world's time is `until` (s)."""
    expert = Expert(world.layout)
    frames, actions, places = [], [], []
    rest = _REST
    while rest and not world.outcome.contact and world.base.time < until:
        pose, frame = world.base.pose, world.frame()
        way = expert.way(pose)
        right = expert.along(way, pose)
        frames.append(frame)
        actions.append(right.as_tuple())
        places.append(landmarks(world.layout, way, pose))
        world.command(driver(frame, right))
        world.advance(PERIOD)
        rest -= world.outcome.reached
    return Demonstration(
        instruction,
        np.stack(frames),
        np.array(actions, np.float32),
        np.array(places, np.float32),
        world.outcome,
    )


def disturbed(rng: np.random.Generator, size: float) -> Driver:
    """The expert with an unsteady hand: noise of standard deviation `size` in rad/s, half of it in m/s, that drifts."""
    noise = np.zeros(2)

    def drive(frame: np.ndarray, right: Velocity) -> Velocity:
        nonlocal noise
        noise = _DRIFT * noise + math.sqrt(1.0 - _DRIFT**2) * size * rng.standard_normal(2)
        return Velocity(max(right.linear_x + 0.5 * noise[0], 0.0), 0.0, right.angular_z + noise[1])

    return drive


def landmarks(layout: Layout, way: LineString, pose: Pose) -> list[tuple[float, float]]:
    """Where LANDMARKS lie in the axes of a robot at `pose`, from which `way` leads (m)."""
    second = layout.boxes[1].pose if len(layout.boxes) > 1 else None
    points = [layout.cup, layout.boxes[0].pose, second, way.interpolate(0.5), way.interpolate(1.0)]
    return [_seen_from(pose, point) for point in points]


def _seen_from(pose: Pose, point: Pose | Point | None) -> tuple[float, float]:
    if point is None:
        return (math.nan, math.nan)
    dx, dy = point.x - pose.x, point.y - pose.y
    cosine, sine = math.cos(pose.yaw), math.sin(pose.yaw)
    return (cosine * dx + sine * dy, cosine * dy - sine * dx)
