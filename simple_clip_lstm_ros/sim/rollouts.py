"""Simulated drives and single views, with the expert's action as the label of each frame.

The expert need not drive: a policy trained on the expert's drives only never sees how to recover from its own mistakes
(Ross, Gordon, Bagnell 2011, DAgger).
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
LANDMARKS = ("cup", "first box", "second box", "path at 0.5 m", "path at 1 m")
_REST = 5  # frames at the cup, so that a policy learns to stop there
_NOISE_PERSISTENCE = 0.7  # share of the noise that remains one frame later

# (frame, expert's velocity) -> velocity to command
RolloutPolicy = Callable[[np.ndarray, Velocity], Velocity]


@dataclass(frozen=True)
class LabelledFrames:
    """Frames with the expert's `actions` and the `landmarks` in the robot's axes (m), NaN for missing objects."""

    instruction: str
    frames: np.ndarray  # uint8 [T, height, width, 3], RGB
    actions: np.ndarray  # float32 [T, 3]: linear.x, linear.y, angular.z
    landmarks: np.ndarray  # float32 [T, len(LANDMARKS), 2]


@dataclass(frozen=True)
class Rollout(LabelledFrames):
    """The labelled frames of one drive, and its outcome."""

    outcome: Outcome


def rollout(world: World, instruction: str, policy: RolloutPolicy, *, until: float = 40.0) -> Rollout:
    """Drive `world` from its current pose with `policy`.

    End when the cup is reached, on contact, or at world time `until` (s).
    """
    expert = Expert(world.layout)
    frames, actions, points = [], [], []
    rest = _REST
    while rest and not world.outcome.contact and world.base.time < until:
        pose, frame = world.base.pose, world.frame()
        path = expert.shortest_path(pose)
        expert_velocity = expert.pure_pursuit(path, pose)
        frames.append(frame)
        actions.append(expert_velocity.as_tuple())
        points.append(landmarks(world.layout, path, pose))
        world.command(policy(frame, expert_velocity))
        world.advance(PERIOD)
        rest -= world.outcome.reached
    return Rollout(
        instruction,
        np.stack(frames),
        np.array(actions, np.float32),
        np.array(points, np.float32),
        world.outcome,
    )


def noisy_expert(rng: np.random.Generator, std: float) -> RolloutPolicy:
    """Return the expert with noise that is correlated over time.

    Its standard deviation is `std` in rad/s, and half of that in m/s.
    """
    noise = np.zeros(2)

    def drive(frame: np.ndarray, expert_velocity: Velocity) -> Velocity:
        nonlocal noise
        noise = _NOISE_PERSISTENCE * noise + math.sqrt(1.0 - _NOISE_PERSISTENCE**2) * std * rng.standard_normal(2)
        forward = max(expert_velocity.linear_x + 0.5 * noise[0], 0.0)
        return Velocity(forward, 0.0, expert_velocity.angular_z + noise[1])

    return drive


def landmarks(layout: Layout, path: LineString, pose: Pose) -> list[tuple[float, float]]:
    """Return the LANDMARKS (m) in the axes of a robot at `pose`, where `path` starts."""
    second = layout.boxes[1].pose if len(layout.boxes) > 1 else None
    points = [layout.cup, layout.boxes[0].pose, second, path.interpolate(0.5), path.interpolate(1.0)]
    return [_to_robot_frame(pose, point) for point in points]


def _to_robot_frame(pose: Pose, point: Pose | Point | None) -> tuple[float, float]:
    if point is None:
        return (math.nan, math.nan)
    dx, dy = point.x - pose.x, point.y - pose.y
    cosine, sine = math.cos(pose.yaw), math.sin(pose.yaw)
    return (cosine * dx + sine * dy, cosine * dy - sine * dx)


_MAX_LATERAL = 1.2  # m, |y| of a sampled pose
_MIN_DISTANCE = 0.2  # m from the robot's center to obstacles, and to the cup along x
_HEADING_STD = 0.4  # rad, standard deviation of the heading from the direction of the path


def sample_views(layouts: Sequence[Layout], instruction: str, rng: np.random.Generator) -> LabelledFrames:
    """Return one frame of each layout, all with one instruction. A landmark out of view is NaN."""
    views = [_sample_view(layout, rng) for layout in layouts]
    frames, actions, points = zip(*views, strict=True)
    return LabelledFrames(instruction, np.stack(frames), np.array(actions, np.float32), np.array(points, np.float32))


def _sample_view(layout: Layout, rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, ...], np.ndarray]:
    expert = Expert(layout)
    position = _sample_free_position(layout, rng)
    path = expert.shortest_path(position)
    ahead = path.interpolate(0.5)
    heading = math.atan2(ahead.y - position.y, ahead.x - position.x) + rng.normal(0.0, _HEADING_STD)
    pose = Pose(position.x, position.y, heading)
    points = np.array(landmarks(layout, path, pose))
    targets = [layout.cup, *(box.pose for box in layout.boxes)]
    hidden = [not _is_in_view(layout, pose, target) for target in targets]
    points[: len(hidden)][hidden] = math.nan
    return CameraRenderer(layout, SIZE, rng)(pose), expert.pure_pursuit(path, pose).as_tuple(), points


def _sample_free_position(layout: Layout, rng: np.random.Generator) -> Pose:
    while True:
        x, y = rng.uniform(-0.1, layout.cup.x - _MIN_DISTANCE), rng.uniform(-_MAX_LATERAL, _MAX_LATERAL)
        if layout.obstacles.distance(Point(x, y)) > _MIN_DISTANCE:
            return Pose(x, y, 0.0)


def _is_in_view(layout: Layout, pose: Pose, target: Pose | Point) -> bool:
    """Return whether a target is within the camera's field of view and no box hides it."""
    bearing = math.remainder(math.atan2(target.y - pose.y, target.x - pose.x) - pose.yaw, math.tau)
    line_of_sight = LineString([(pose.x, pose.y), (target.x, target.y)])
    others = [box.footprint for box in layout.boxes if box.pose is not target]
    return abs(bearing) < layout.camera.fov / 2 and not any(
        shapely.intersects(other, line_of_sight) for other in others
    )
