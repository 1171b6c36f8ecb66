"""What stands where, how it looks and how the robot's body is: one world, drawn from a seed.

Metres and radians in REP-103 axes. The robot starts near the origin and looks along x, more or less; the boxes stand
before it and the cup behind them.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from shapely import Point, Polygon, affinity, box, union_all

from simple_clip_lstm_ros.sim.scenario import Scenario

Colour = tuple[float, float, float]  # RGB, 0 to 1
PATTERNS = ("plain", "checks", "stripes", "grain")

# Hues (0 to 1) by which a small model can tell things apart, as a person would: of cardboard, of the one kind of cup
# that is meant, and of what stands about.
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
    """A pattern of two colours; `scale` is the size of its smallest part in m."""

    pattern: str
    colours: tuple[Colour, Colour]
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
        lying = box(-self.length / 2, -self.width / 2, self.length / 2, self.width / 2)
        turned = affinity.rotate(lying, self.pose.yaw, origin=(0, 0), use_radians=True)
        return affinity.translate(turned, self.pose.x, self.pose.y)


@dataclass(frozen=True)
class Cylinder:
    """The cup, or what stands about."""

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
    """`pitch` is positive downwards; `fov` is the horizontal angle of view; `noise` in grey levels; `gain` of light."""

    height: float
    pitch: float
    fov: float
    noise: float
    gain: float


@dataclass(frozen=True)
class Light:
    """A distant one, by the direction to it, beside what comes from everywhere (`ambient`, 0 to 1)."""

    azimuth: float
    elevation: float
    ambient: float


@dataclass(frozen=True)
class BaseDynamics:
    """How the base answers: `slip` is the share of a commanded speed that is lost, of linear and angular ones."""

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
    sky: Colour
    camera: Camera
    light: Light
    body: BaseDynamics

    @property
    def things(self) -> tuple[Box | Cylinder, ...]:
        """All that can be seen on the floor."""
        return (*self.boxes, self.cup, *self.distractors)

    @property
    def solid(self) -> Polygon:
        """What the robot must not touch."""
        things: tuple[Box | Cylinder, ...] = (*self.boxes, *self.distractors)
        return union_all([thing.footprint for thing in things])

    @property
    def axis(self) -> tuple[float, float]:
        """Unit vector from the start to the cup: "left" and "past" are by it."""
        dx, dy = self.cup.x - self.start.x, self.cup.y - self.start.y
        return dx / math.hypot(dx, dy), dy / math.hypot(dx, dy)

    def abeam(self, box: Pose, pose: Pose) -> tuple[float, float]:
        """How far this pose is beyond and how far left of a box, by the axis."""
        ax, ay = self.axis
        dx, dy = pose.x - box.x, pose.y - box.y
        return dx * ax + dy * ay, ax * dy - ay * dx

    def is_halfway(self, pose: Pose) -> bool:
        """Whether half the way to the first box is done, or more, by the axis."""
        first = self.boxes[0].pose
        return self.abeam(first, pose)[0] >= 0.5 * self.abeam(first, self.start)[0]


def sample_layout(scenario: Scenario, seed: int) -> Layout:
    """The same layout for the same scenario and seed, on every machine."""
    rng = np.random.default_rng([seed, scenario.boxes, scenario.orientation == "hori", scenario.left + 1])
    boxes = _boxes(scenario, rng)
    furthest = max(each.pose.x for each in boxes)
    cup = Cylinder(
        x=furthest + rng.uniform(0.9, 1.4),
        y=rng.uniform(-0.5, 0.5),
        radius=rng.uniform(0.06, 0.09),
        height=rng.uniform(0.15, 0.22),
        surface=_sample_texture(rng, _vivid(rng, _CUP_HUES), scale=0.05),
    )
    return Layout(
        scenario,
        seed,
        start=Pose(0.0, rng.uniform(-0.1, 0.1), math.radians(rng.uniform(-10.0, 10.0))),
        boxes=boxes,
        cup=cup,
        distractors=_distractors(rng, cup),
        floor=_sample_texture(rng, _pale(rng), scale=rng.uniform(0.1, 0.4)),
        sky=_pale(rng),
        camera=Camera(
            height=rng.uniform(0.3, 0.4),
            pitch=math.radians(12.0 + rng.uniform(-5.0, 5.0)),
            fov=math.radians(80.0 + rng.uniform(-5.0, 5.0)),
            noise=rng.uniform(0.0, 5.0),
            gain=rng.uniform(0.7, 1.2),
        ),
        light=Light(rng.uniform(-math.pi, math.pi), rng.uniform(0.5, 1.3), rng.uniform(0.4, 0.7)),
        body=BaseDynamics(latency=rng.uniform(0.0, 0.1), slip=(rng.uniform(0.0, 0.08), rng.uniform(0.0, 0.08))),
    )


def _boxes(scenario: Scenario, rng: np.random.Generator) -> tuple[Box, ...]:
    """One behind the other, each turned by up to 15 degrees."""
    boxes: list[Box] = []
    along = scenario.orientation == "vert"
    x = rng.uniform(1.2, 1.6)
    for _ in range(scenario.boxes):
        length, width = rng.uniform(0.45, 0.7), rng.uniform(0.2, 0.35)
        turn = 0.0 if along else math.pi / 2
        pose = Pose(x, rng.uniform(-0.15, 0.15), turn + math.radians(rng.uniform(-15.0, 15.0)))
        surface = _sample_texture(rng, _vivid(rng, _BOX_HUES), scale=rng.uniform(0.05, 0.2))
        boxes.append(Box(pose, length, width, rng.uniform(0.2, 0.4), surface))
        x += rng.uniform(0.75, 0.95) if along else rng.uniform(0.55, 0.75)
    return tuple(boxes)


def _distractors(rng: np.random.Generator, cup: Cylinder) -> tuple[Cylinder, ...]:
    """Up to four things beside and behind, where no way leads; thicker than any cup."""
    things = []
    for _ in range(rng.integers(0, 5)):
        y = rng.choice((-1.0, 1.0)) * rng.uniform(1.6, 3.0)
        x = rng.uniform(0.5, cup.x + 2.0)
        surface = _sample_texture(rng, _vivid(rng, _OTHER_HUES) if rng.integers(2) else _pale(rng), scale=0.1)
        things.append(Cylinder(x, y, rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.8), surface))
    return tuple(things)


def _sample_texture(rng: np.random.Generator, first: Colour, *, scale: float) -> Texture:
    blend = rng.uniform(0.1, 0.5)  # the second colour is a lighter or darker neighbour of the first
    other = 1.0 if rng.integers(2) else 0.0
    second = tuple(float(channel + (other - channel) * blend) for channel in first)
    return Texture(str(rng.choice(PATTERNS)), (first, second), scale)  # type: ignore[arg-type]


def _vivid(rng: np.random.Generator, hues: tuple[tuple[float, float], ...]) -> Colour:
    return colorsys.hsv_to_rgb(
        rng.uniform(*hues[rng.integers(len(hues))]), rng.uniform(0.6, 1.0), rng.uniform(0.4, 1.0)
    )


def _pale(rng: np.random.Generator) -> Colour:
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.0, 0.3), rng.uniform(0.3, 0.9))
