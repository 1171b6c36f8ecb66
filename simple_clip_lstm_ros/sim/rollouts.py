"""Drives through worlds of `sim`, and at each frame what the expert would do there.

Who drives need not be the expert: a policy that learns from an expert's drives alone never sees how to recover from
its own mistakes (Ross, Gordon, Bagnell 2011, DAgger).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import LineString, Point

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.sim.expert import Expert
from simple_clip_lstm_ros.sim.layout import Layout, Pose
from simple_clip_lstm_ros.sim.renderer import CameraRenderer
from simple_clip_lstm_ros.sim.world import SIZE, Outcome, World

PERIOD = 0.2  # s between frames
LANDMARKS = ("cup", "first box", "second box", "way at 0.5 m", "way at 1 m")
_REST = 5  # frames at the cup, so that a policy learns to stop there
_NOISE_PERSISTENCE = 0.7  # how much of a disturbance is left one frame later

RolloutPolicy = Callable[
    [np.ndarray, Velocity], Velocity
]  # a frame and what the expert would command -> what is commanded


@dataclass(frozen=True)
class LabelledFrames:
    """`actions` are the expert's; `landmarks` lie in the robot's axes (m), NaN where the world has no such thing."""

    instruction: str
    frames: np.ndarray  # uint8 [T, height, width, 3], RGB
    actions: np.ndarray  # float32 [T, 3]: linear.x, linear.y, angular.z
    landmarks: np.ndarray  # float32 [T, len(LANDMARKS), 2]


@dataclass(frozen=True)
class Rollout(LabelledFrames):
    """One drive, and how it ended."""

    outcome: Outcome


def rollout(world: World, instruction: str, driver: RolloutPolicy, *, until: float = 40.0) -> Rollout:
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
    return Rollout(
        instruction,
        np.stack(frames),
        np.array(actions, np.float32),
        np.array(places, np.float32),
        world.outcome,
    )


def noisy_expert(rng: np.random.Generator, size: float) -> RolloutPolicy:
    """The expert with an unsteady hand: noise of standard deviation `size` in rad/s, half of it in m/s, that drifts."""
    noise = np.zeros(2)

    def drive(frame: np.ndarray, right: Velocity) -> Velocity:
        nonlocal noise
        noise = _NOISE_PERSISTENCE * noise + math.sqrt(1.0 - _NOISE_PERSISTENCE**2) * size * rng.standard_normal(2)
        return Velocity(max(right.linear_x + 0.5 * noise[0], 0.0), 0.0, right.angular_z + noise[1])

    return drive


def landmarks(layout: Layout, way: LineString, pose: Pose) -> list[tuple[float, float]]:
    """Where LANDMARKS lie in the axes of a robot at `pose`, from which `way` leads (m)."""
    second = layout.boxes[1].pose if len(layout.boxes) > 1 else None
    points = [layout.cup, layout.boxes[0].pose, second, way.interpolate(0.5), way.interpolate(1.0)]
    return [_to_robot_frame(pose, point) for point in points]


def _to_robot_frame(pose: Pose, point: Pose | Point | None) -> tuple[float, float]:
    if point is None:
        return (math.nan, math.nan)
    dx, dy = point.x - pose.x, point.y - pose.y
    cosine, sine = math.cos(pose.yaw), math.sin(pose.yaw)
    return (cosine * dx + sine * dy, cosine * dy - sine * dx)


_ASIDE = 1.2  # m from the line between start and cup
_NEAREST = 0.2  # m from the robot's middle to what is solid, and to the cup along the way
_ASTRAY = 0.4  # rad, standard deviation of the heading against that of the way


def sample_views(layouts: Sequence[Layout], instruction: str, rng: np.random.Generator) -> LabelledFrames:
    """One frame of each layout, which share the instruction. A landmark that is out of view is NaN."""
    views = [_view(layout, rng) for layout in layouts]
    frames, actions, places = zip(*views, strict=True)
    return LabelledFrames(instruction, np.stack(frames), np.array(actions, np.float32), np.array(places, np.float32))


def _view(layout: Layout, rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, ...], np.ndarray]:
    expert = Expert(layout)
    place = _place(layout, rng)
    way = expert.way(place)
    ahead = way.interpolate(0.5)
    heading = math.atan2(ahead.y - place.y, ahead.x - place.x) + rng.normal(0.0, _ASTRAY)
    pose = Pose(place.x, place.y, heading)
    places = np.array(landmarks(layout, way, pose))
    things = [layout.cup, *(box.pose for box in layout.boxes)]
    hidden = [not _in_view(layout, pose, thing) for thing in things]
    places[: len(hidden)][hidden] = math.nan
    return CameraRenderer(layout, SIZE, rng)(pose), expert.along(way, pose).as_tuple(), places


def _place(layout: Layout, rng: np.random.Generator) -> Pose:
    while True:
        x, y = rng.uniform(-0.1, layout.cup.x - _NEAREST), rng.uniform(-_ASIDE, _ASIDE)
        if layout.solid.distance(Point(x, y)) > _NEAREST:
            return Pose(x, y, 0.0)


def _in_view(layout: Layout, pose: Pose, thing: Pose | Point) -> bool:
    """Before the camera, and behind none of the boxes."""
    bearing = math.remainder(math.atan2(thing.y - pose.y, thing.x - pose.x) - pose.yaw, math.tau)
    sight = LineString([(pose.x, pose.y), (thing.x, thing.y)])
    others = [box.footprint for box in layout.boxes if box.pose is not thing]
    return abs(bearing) < layout.camera.fov / 2 and not any(shapely.intersects(other, sight) for other in others)
