"""A layout sampled from a seed: poses and textures of all objects, the camera, the light and the base dynamics.

Meters and radians in REP-103 axes. The robot starts near the origin, facing roughly along x; the boxes are in front of
it and the cup is behind them.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from shapely import Point, Polygon, affinity, box, union_all

from simple_clip_lstm_ros.sim.scenario import Scenario

Color = tuple[float, float, float]  # RGB, 0 to 1
PATTERNS = ("plain", "checks", "stripes", "grain")

# Hues (0 to 1) by which a small model can tell objects apart, as a person would: cardboard, the only kind of cup that
# is the goal, and distractors.
_BOX_HUES = ((0.04, 0.14),)
_CUP_HUES = ((0.55, 0.68),)
_OTHER_HUES = ((0.27, 0.45), (0.78, 0.95))


@dataclass(frozen=True)
class Pose:
    x: float
    y: float
    yaw: float


@dataclass(frozen=True)
class Texture:
    """A pattern of two colors; `scale` is the size of its smallest element in m."""

    pattern: str
    colors: tuple[Color, Color]
    scale: float


@dataclass(frozen=True)
class Box:
    pose: Pose
    length: float
    width: float
    height: float
    surface: Texture

    @property
    def footprint(self) -> Polygon:
        axis_aligned = box(-self.length / 2, -self.width / 2, self.length / 2, self.width / 2)
        rotated = affinity.rotate(axis_aligned, self.pose.yaw, origin=(0, 0), use_radians=True)
        return affinity.translate(rotated, self.pose.x, self.pose.y)


@dataclass(frozen=True)
class Cylinder:
    """The cup, or a distractor."""

    x: float
    y: float
    radius: float
    height: float
    surface: Texture

    @property
    def footprint(self) -> Polygon:
        return Point(self.x, self.y).buffer(self.radius)


@dataclass(frozen=True)
class Camera:
    """The camera: `pitch` (rad) positive downward, horizontal `fov` (rad), `noise` in gray levels, `gain` of light."""

    height: float
    pitch: float
    fov: float
    noise: float
    gain: float


@dataclass(frozen=True)
class Light:
    """A distant light by the direction to it (rad), plus ambient light (`ambient`, 0 to 1)."""

    azimuth: float
    elevation: float
    ambient: float


@dataclass(frozen=True)
class BaseDynamics:
    """Response of the base: `latency` in s; `slip` is the lost share of the commanded (linear, angular) speed."""

    latency: float
    slip: tuple[float, float]


@dataclass(frozen=True)
class Layout:
    scenario: Scenario
    seed: int
    start: Pose
    boxes: tuple[Box, ...]
    cup: Cylinder
    distractors: tuple[Cylinder, ...]
    floor: Texture
    sky: Color
    camera: Camera
    light: Light
    dynamics: BaseDynamics

    @property
    def objects(self) -> tuple[Box | Cylinder, ...]:
        """Return everything on the floor that the camera can see."""
        return (*self.boxes, self.cup, *self.distractors)

    @property
    def obstacles(self) -> Polygon:
        """Return the union of the footprints that the robot must not touch."""
        objects: tuple[Box | Cylinder, ...] = (*self.boxes, *self.distractors)
        return union_all([each.footprint for each in objects])

    @property
    def axis(self) -> tuple[float, float]:
        """Return the unit vector from the start to the cup, which defines "left" and "past"."""
        dx, dy = self.cup.x - self.start.x, self.cup.y - self.start.y
        return dx / math.hypot(dx, dy), dy / math.hypot(dx, dy)

    def axis_offset(self, box: Pose, pose: Pose) -> tuple[float, float]:
        """Return how far (m) a pose is past a box and left of it.

        Measured along and across `axis`.
        """
        ax, ay = self.axis
        dx, dy = pose.x - box.x, pose.y - box.y
        return dx * ax + dy * ay, ax * dy - ay * dx

    def is_halfway(self, pose: Pose) -> bool:
        """Return whether the pose is at least halfway to the first box, along `axis`."""
        first = self.boxes[0].pose
        return self.axis_offset(first, pose)[0] >= 0.5 * self.axis_offset(first, self.start)[0]


def sample_layout(scenario: Scenario, seed: int) -> Layout:
    """Sample a layout: the same for the same scenario and seed, on every machine."""
    rng = np.random.default_rng([seed, scenario.boxes, scenario.orientation == "hori", scenario.side_sign + 1])
    boxes = _sample_boxes(scenario, rng)
    farthest = max(each.pose.x for each in boxes)
    cup = Cylinder(
        x=farthest + rng.uniform(0.9, 1.4),
        y=rng.uniform(-0.5, 0.5),
        radius=rng.uniform(0.06, 0.09),
        height=rng.uniform(0.15, 0.22),
        surface=_sample_texture(rng, _sample_vivid_color(rng, _CUP_HUES), scale=0.05),
    )
    return Layout(
        scenario,
        seed,
        start=Pose(0.0, rng.uniform(-0.1, 0.1), math.radians(rng.uniform(-10.0, 10.0))),
        boxes=boxes,
        cup=cup,
        distractors=_sample_distractors(rng, cup),
        floor=_sample_texture(rng, _sample_pale_color(rng), scale=rng.uniform(0.1, 0.4)),
        sky=_sample_pale_color(rng),
        camera=Camera(
            height=rng.uniform(0.3, 0.4),
            pitch=math.radians(12.0 + rng.uniform(-5.0, 5.0)),
            fov=math.radians(80.0 + rng.uniform(-5.0, 5.0)),
            noise=rng.uniform(0.0, 5.0),
            gain=rng.uniform(0.7, 1.2),
        ),
        light=Light(rng.uniform(-math.pi, math.pi), rng.uniform(0.5, 1.3), rng.uniform(0.4, 0.7)),
        dynamics=BaseDynamics(latency=rng.uniform(0.0, 0.1), slip=(rng.uniform(0.0, 0.08), rng.uniform(0.0, 0.08))),
    )


def _sample_boxes(scenario: Scenario, rng: np.random.Generator) -> tuple[Box, ...]:
    """Sample the boxes, one behind the other, each rotated by up to 15 degrees."""
    boxes: list[Box] = []
    is_along = scenario.orientation == "vert"
    x = rng.uniform(1.2, 1.6)
    for _ in range(scenario.boxes):
        length, width = rng.uniform(0.45, 0.7), rng.uniform(0.2, 0.35)
        yaw = 0.0 if is_along else math.pi / 2
        pose = Pose(x, rng.uniform(-0.15, 0.15), yaw + math.radians(rng.uniform(-15.0, 15.0)))
        surface = _sample_texture(rng, _sample_vivid_color(rng, _BOX_HUES), scale=rng.uniform(0.05, 0.2))
        boxes.append(Box(pose, length, width, rng.uniform(0.2, 0.4), surface))
        x += rng.uniform(0.75, 0.95) if is_along else rng.uniform(0.55, 0.75)
    return tuple(boxes)


def _sample_distractors(rng: np.random.Generator, cup: Cylinder) -> tuple[Cylinder, ...]:
    """Sample up to four objects to the sides and behind, off every path and thicker than any cup."""
    objects = []
    for _ in range(rng.integers(0, 5)):
        y = rng.choice((-1.0, 1.0)) * rng.uniform(1.6, 3.0)
        x = rng.uniform(0.5, cup.x + 2.0)
        surface = _sample_texture(
            rng, _sample_vivid_color(rng, _OTHER_HUES) if rng.integers(2) else _sample_pale_color(rng), scale=0.1
        )
        objects.append(Cylinder(x, y, rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.8), surface))
    return tuple(objects)


def _sample_texture(rng: np.random.Generator, first: Color, *, scale: float) -> Texture:
    blend = rng.uniform(0.1, 0.5)  # the second color is a lighter or darker variant of the first
    other = 1.0 if rng.integers(2) else 0.0
    second = tuple(float(channel + (other - channel) * blend) for channel in first)
    return Texture(str(rng.choice(PATTERNS)), (first, second), scale)  # type: ignore[arg-type]


def _sample_vivid_color(rng: np.random.Generator, hues: tuple[tuple[float, float], ...]) -> Color:
    return colorsys.hsv_to_rgb(
        rng.uniform(*hues[rng.integers(len(hues))]), rng.uniform(0.6, 1.0), rng.uniform(0.4, 1.0)
    )


def _sample_pale_color(rng: np.random.Generator) -> Color:
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.0, 0.3), rng.uniform(0.3, 0.9))
