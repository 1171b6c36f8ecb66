"""A driver that knows the world: the shortest way to the cup on the named side, from any pose, by pure pursuit."""

from __future__ import annotations

import itertools
import math

import networkx
import numpy as np
import shapely
from shapely import LineString, Point, Polygon

from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.sim.base import DIFFERENTIAL
from simple_clip_lstm_ros.sim.layout import Layout, Pose

CLEARANCE = 0.4  # m, from the robot's middle to a box
STOP = 0.15  # m from the middle of the cup
_LOOKAHEAD = 0.6  # m: the shorter, the more a small error of the bearing turns the robot
_LONG = 20.0  # m, longer than any way around
_SLACK = 0.01  # m by which corners stand off what they lead around


class Expert:
    """The shortest way in the plane around the boxes, with a wall on that side of each that is not named."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._goal = Point(layout.cup.x, layout.cup.y)
        self._boxes = shapely.union_all([box.footprint for box in layout.boxes])
        ax, ay = layout.axis
        away = -layout.scenario.left * _LONG
        self._walls = [
            LineString([(box.pose.x, box.pose.y), (box.pose.x - ay * away, box.pose.y + ax * away)])
            for box in layout.boxes
        ]

    def __call__(self, pose: Pose) -> Velocity:
        """The velocity to command at this pose."""
        return self.along(self.way(pose), pose)

    def along(self, way: LineString, pose: Pose) -> Velocity:
        """The velocity to command at this pose, from which `way` leads."""
        left = math.hypot(self._goal.x - pose.x, self._goal.y - pose.y) - STOP
        if left <= 0.0:
            return ZERO
        target = way.interpolate(_LOOKAHEAD)
        bearing = math.remainder(math.atan2(target.y - pose.y, target.x - pose.x) - pose.yaw, math.tau)
        fastest, _, turn = DIFFERENTIAL.max_velocity
        # Where it looks the wrong way it turns first; near the cup it slows down.
        forward = min(fastest, 1.5 * left) * max(math.cos(1.3 * bearing), 0.0) if abs(bearing) < 1.2 else 0.0
        reach = max(target.distance(Point(pose.x, pose.y)), 0.1)
        curve = 2.0 * max(forward, 0.15) * math.sin(bearing) / reach if abs(bearing) < 1.2 else turn * bearing
        return Velocity(forward, 0.0, max(-turn, min(turn, curve)))

    def way(self, pose: Pose) -> LineString:
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
