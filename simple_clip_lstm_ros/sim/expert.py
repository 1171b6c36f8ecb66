"""An expert that knows the layout: shortest path to the cup on the named side, followed by pure pursuit."""

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

CLEARANCE = 0.4  # m, from the robot's center to a box
STOP = 0.15  # m from the center of the cup
_LOOKAHEADS = (0.6, 0.4, 0.2, 0.1)  # m: with a shorter one, a small bearing error turns the robot more
_MARGIN = 0.05  # m, between the robot's edge and a box next to a straight line
_WALL_LENGTH = 20.0  # m, longer than any detour
_TIME_TO_BOX = 0.5  # s, minimum time to reach a box ahead
_MIN_DISTANCE = 0.02  # m: with a speed of zero next to a box, the robot would never get away
_PROBE_DISTANCE = 0.1  # m
_SLACK = 0.01  # m, between path corners and the obstacle that they go around


class Expert:
    """Plans the shortest path around the boxes, with a wall on the side of each box that is not named."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._goal = Point(layout.cup.x, layout.cup.y)
        self._boxes = shapely.union_all([box.footprint for box in layout.boxes])
        self._inflated = self._boxes.buffer(RADIUS + _MARGIN)
        ax, ay = layout.axis
        away = -layout.scenario.side_sign * _WALL_LENGTH
        self._walls = [
            LineString([(box.pose.x, box.pose.y), (box.pose.x - ay * away, box.pose.y + ax * away)])
            for box in layout.boxes
        ]

    def __call__(self, pose: Pose) -> Velocity:
        """Return the expert's velocity at this pose."""
        return self.pure_pursuit(self.shortest_path(pose), pose)

    def pure_pursuit(self, path: LineString, pose: Pose) -> Velocity:
        """Return the velocity at this pose that follows `path`, which starts there."""
        remaining = math.hypot(self._goal.x - pose.x, self._goal.y - pose.y) - STOP
        if remaining <= 0.0:
            return ZERO
        target = self._lookahead_target(path, pose)
        bearing = math.remainder(math.atan2(target.y - pose.y, target.x - pose.x) - pose.yaw, math.tau)
        fastest, _, turn = DIFFERENTIAL.max_velocity
        # With a large bearing the robot turns in place first; near the cup and toward a box it slows down.
        fastest = min(fastest, 1.5 * remaining, self._safe_speed(pose))
        forward = fastest * max(math.cos(1.3 * bearing), 0.0) if abs(bearing) < 1.2 else 0.0
        reach = max(target.distance(Point(pose.x, pose.y)), 0.1)
        curve = 2.0 * max(forward, 0.15) * math.sin(bearing) / reach if abs(bearing) < 1.2 else turn * bearing
        return Velocity(forward, 0.0, max(-turn, min(turn, curve)))

    def _lookahead_target(self, path: LineString, pose: Pose) -> Point:
        """Return the farthest lookahead point on the path that a straight, collision-free line reaches.

        A farther point would cut the corner of a box. Very close to a box there may be none: then return the nearest
        lookahead point, so that the robot turns at once and stays on the path.
        """
        targets = [path.interpolate(reach) for reach in _LOOKAHEADS]
        position = (pose.x, pose.y)
        free = (each for each in targets if not self._inflated.intersects(LineString([position, each.coords[0]])))
        return next(free, targets[-1])

    def _safe_speed(self, pose: Pose) -> float:
        """Return the speed limit (m/s) near boxes.

        It depends on the distance to the nearest box, and on how fast the distance decreases.
        """
        position = Point(pose.x, pose.y)
        ahead = Point(pose.x + _PROBE_DISTANCE * math.cos(pose.yaw), pose.y + _PROBE_DISTANCE * math.sin(pose.yaw))
        distance = self._boxes.distance(position)
        approach = (distance - self._boxes.distance(ahead)) / _PROBE_DISTANCE  # m closer per m driven
        return max(distance - RADIUS, _MIN_DISTANCE) / (_TIME_TO_BOX * approach) if approach > 0.0 else math.inf

    def shortest_path(self, pose: Pose) -> LineString:
        """Return the shortest path from this pose to the cup, by a visibility graph.

        From a pose within the clearance of a box, the path leads along the box.
        """
        position = Point(pose.x, pose.y)
        clearance = min(
            CLEARANCE, self._boxes.distance(position) - 2 * _SLACK, self._boxes.distance(self._goal) - _SLACK
        )
        closed = self._boxes.buffer(max(clearance, _SLACK), quad_segs=2)
        corners = shapely.get_coordinates(closed.buffer(_SLACK, join_style="mitre"))
        points = [(position.x, position.y), (self._goal.x, self._goal.y), *map(tuple, corners)]
        pairs = np.array(list(itertools.combinations(range(len(points)), 2)))
        lines = shapely.linestrings(np.array(points)[pairs])
        obstacles: list[Polygon | LineString] = [closed, *self._walls_ahead(pose)]
        shapely.prepare(obstacles)
        free = ~np.any([shapely.intersects(lines, each) for each in obstacles], axis=0)
        graph = networkx.Graph()
        for (start, end), length in zip(pairs[free], shapely.length(lines[free]), strict=True):
            graph.add_edge(int(start), int(end), weight=float(length))
        return LineString([points[index] for index in networkx.shortest_path(graph, 0, 1, weight="weight")])

    def _walls_ahead(self, pose: Pose) -> list[LineString]:
        """Return the walls of the boxes that are not passed yet.

        Behind a box, its wall would trap a robot that passed on the wrong side.
        """
        layout = self._layout
        pairs = zip(self._walls, layout.boxes, strict=True)
        return [wall for wall, box in pairs if layout.axis_offset(box.pose, pose)[0] < -_SLACK]
