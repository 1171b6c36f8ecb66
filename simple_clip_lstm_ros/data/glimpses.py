"""Single views of many worlds, from wherever a robot may come to stand there: for encoders to learn to see by.

The frames of a drive are much alike. As many from as many worlds teach in minutes what those would not in hours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely
from shapely import LineString, Point

from simple_clip_lstm_ros.data.demonstrations import Lesson, landmarks
from simple_clip_lstm_ros.sim.expert import Expert
from simple_clip_lstm_ros.sim.layout import Layout, Pose
from simple_clip_lstm_ros.sim.picture import Picture
from simple_clip_lstm_ros.sim.world import SIZE

_ASIDE = 1.2  # m from the line between start and cup
_NEAREST = 0.2  # m from the robot's middle to what is solid, and to the cup along the way
_ASTRAY = 0.4  # rad, standard deviation of the heading against that of the way


def glimpses(layouts: Sequence[Layout], instruction: str, rng: np.random.Generator) -> Lesson:
    """One frame of each layout, which share the instruction. A landmark that is out of view is NaN."""
    views = [_view(layout, rng) for layout in layouts]
    frames, actions, places = zip(*views, strict=True)
    return Lesson(instruction, np.stack(frames), np.array(actions, np.float32), np.array(places, np.float32))


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
    return Picture(layout, SIZE, rng)(pose), expert.along(way, pose).as_tuple(), places


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
