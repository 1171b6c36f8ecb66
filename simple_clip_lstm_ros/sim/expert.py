"""A driver that knows the world: the shortest way to the cup on the named side, from any pose, by pure pursuit."""

from __future__ import annotations

import itertools
import math

import networkx
import numpy as np
import shapely
from shapely import LineString, Point, Polygon

from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.sim.layout import Layout, Pose
from simple_clip_lstm_ros.sim.mobile_base import DIFFERENTIAL, RADIUS

CLEARANCE = 0.4  # m, from the robot's middle to a box
STOP = 0.15  # m from the middle of the cup
_LOOKAHEADS = (0.6, 0.4, 0.2, 0.1)  # m: the shorter, the more a small error of the bearing turns the robot
_MARGIN = 0.05  # m, from the robot's body to a box that a straight line leads past
_LONG = 20.0  # m, longer than any way around
_BRAKING = 0.5  # s that it takes at least to a box ahead
_LEAST_ROOM = 0.02  # m: who stood still beside a box would never get away
_AHEAD = 0.1  # m
_SLACK = 0.01  # m by which corners stand off what they lead around


class Expert:
    """The shortest way in the plane around the boxes, with a wall on that side of each that is not named."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._goal = Point(layout.cup.x, layout.cup.y)
        self._boxes = shapely.union_all([box.footprint for box in layout.boxes])
        self._taken = self._boxes.buffer(RADIUS + _MARGIN)
        ax, ay = layout.axis
        away = -layout.scenario.left * _LONG
        self._walls = [
            LineString([(box.pose.x, box.pose.y), (box.pose.x - ay * away, box.pose.y + ax * away)])
            for box in layout.boxes
        ]

    def __call__(self, pose: Pose) -> Velocity:
        """The velocity to command at this pose."""
        return self.pure_pursuit(self.shortest_path(pose), pose)

    def pure_pursuit(self, way: LineString, pose: Pose) -> Velocity:
        """The velocity to command at this pose, from which `way` leads."""
        left = math.hypot(self._goal.x - pose.x, self._goal.y - pose.y) - STOP
        if left <= 0.0:
            return ZERO
        target = self._target(way, pose)
        bearing = math.remainder(math.atan2(target.y - pose.y, target.x - pose.x) - pose.yaw, math.tau)
        fastest, _, turn = DIFFERENTIAL.max_velocity
        # Where it looks the wrong way it turns first; near the cup, and towards a box, it slows down.
        fastest = min(fastest, 1.5 * left, self._safe_speed(pose))
        forward = fastest * max(math.cos(1.3 * bearing), 0.0) if abs(bearing) < 1.2 else 0.0
        reach = max(target.distance(Point(pose.x, pose.y)), 0.1)
        curve = 2.0 * max(forward, 0.15) * math.sin(bearing) / reach if abs(bearing) < 1.2 else turn * bearing
        return Velocity(forward, 0.0, max(-turn, min(turn, curve)))

    def _target(self, way: LineString, pose: Pose) -> Point:
        """The furthest ahead on the way that can be made for straight: a further one would cut the corner of a box.

        The nearest where there is none: very close to a box it keeps to the way, turning at once.
        """
        targets = [way.interpolate(reach) for reach in _LOOKAHEADS]
        here = (pose.x, pose.y)
        free = (each for each in targets if not self._taken.intersects(LineString([here, each.coords[0]])))
        return next(free, targets[-1])

    def _safe_speed(self, pose: Pose) -> float:
        """By what is between the robot and a box, and by how fast it would become less."""
        here = Point(pose.x, pose.y)
        ahead = Point(pose.x + _AHEAD * math.cos(pose.yaw), pose.y + _AHEAD * math.sin(pose.yaw))
        distance = self._boxes.distance(here)
        nearer = (distance - self._boxes.distance(ahead)) / _AHEAD  # m on each m that it drives
        return max(distance - RADIUS, _LEAST_ROOM) / (_BRAKING * nearer) if nearer > 0.0 else math.inf

    def shortest_path(self, pose: Pose) -> LineString:
        """The shortest way from this pose to the cup. From within the clearance it leads along the box."""
        here = Point(pose.x, pose.y)
        clearance = min(CLEARANCE, self._boxes.distance(here) - 2 * _SLACK, self._boxes.distance(self._goal) - _SLACK)
        closed = self._boxes.buffer(max(clearance, _SLACK), quad_segs=2)
        corners = shapely.get_coordinates(closed.buffer(_SLACK, join_style="mitre"))
        points = [(here.x, here.y), (self._goal.x, self._goal.y), *map(tuple, corners)]
        pairs = np.array(list(itertools.combinations(range(len(points)), 2)))
        lines = shapely.linestrings(np.array(points)[pairs])
        obstacles: list[Polygon | LineString] = [closed, *self._walls_before(pose)]
        shapely.prepare(obstacles)
        free = ~np.any([shapely.intersects(lines, each) for each in obstacles], axis=0)
        graph = networkx.Graph()
        for (one, other), length in zip(pairs[free], shapely.length(lines[free]), strict=True):
            graph.add_edge(int(one), int(other), weight=float(length))
        return LineString([points[index] for index in networkx.shortest_path(graph, 0, 1, weight="weight")])

    def _walls_before(self, pose: Pose) -> list[LineString]:
        """Behind a box its wall would only keep in who has passed on the wrong side."""
        layout = self._layout
        pairs = zip(self._walls, layout.boxes, strict=True)
        return [wall for wall, box in pairs if layout.abeam(box.pose, pose)[0] < -_SLACK]
