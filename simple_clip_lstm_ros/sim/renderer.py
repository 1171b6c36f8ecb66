"""What a camera on the robot sees: one ray for each pixel, and of what it meets the nearest.

Drawn with NumPy, so that no GPU, display or renderer is needed: some milliseconds a picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from simple_clip_lstm_ros.sim.layout import Box, Camera, Cylinder, Layout, Light, Pose, Texture

_FOG = 8.0  # m; at this distance the floor has faded to a third
_GRAIN = 64  # cells along the side of the table of grain
_UP = np.array([[0.0], [0.0], [1.0]], np.float32)
_SHADOW = 0.06  # m around what stands on the floor


class _Hit(NamedTuple):
    """Where rays meet a thing, and for those that do, how it looks there: normals, and places on its surface in m."""

    distance: np.ndarray  # [rays], in units of the ray's length; inf where it is missed
    look: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # indices of rays -> normals [3, n], places [2, n]


class CameraRenderer:
    """Pictures of one layout, uint8 [height, width, 3] in RGB; noise is drawn from `rng`."""

    def __init__(self, layout: Layout, size: tuple[int, int], rng: np.random.Generator) -> None:
        """`size` is (height, width)."""
        self._layout = layout
        self._size = size
        self._rng = rng
        self._rays = _rays(layout.camera, size)
        self._grain = np.random.default_rng(layout.seed).random((_GRAIN, _GRAIN), np.float32)
        self._pixel = layout.camera.fov / size[1]  # rad

    def __call__(self, pose: Pose) -> np.ndarray:
        layout = self._layout
        eye = np.array([pose.x, pose.y, layout.camera.height], np.float32)
        rays = _turned(self._rays, pose.yaw)
        colours, depth = self._floor_and_sky(eye, rays)
        for thing in layout.things:
            hit = _box_hit(thing, eye, rays) if isinstance(thing, Box) else _cylinder_hit(thing, eye, rays)
            nearer = np.flatnonzero(hit.distance < depth)
            if nearer.size:
                depth[nearer] = hit.distance[nearer]
                normals, places = hit.look(nearer)
                shade = _shade(layout.light, normals)
                colours[nearer] = self._painted(thing.surface, places, depth[nearer]) * shade[:, None]
        return self._developed(colours)

    def _floor_and_sky(self, eye: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        layout = self._layout
        sky = np.array(layout.sky, np.float32)
        colours = np.broadcast_to(sky, (rays.shape[1], 3)).copy()
        depth = np.full(rays.shape[1], np.inf, np.float32)
        down = np.flatnonzero(rays[2] < -1e-3)
        depth[down] = -eye[2] / rays[2, down]
        places = eye[:2, None] + depth[down] * rays[:2, down]
        floor = self._painted(layout.floor, places, depth[down])
        floor *= (_shade(layout.light, _UP) * self._shadows(places))[:, None]
        clear = np.exp(-depth[down, None] / _FOG)
        colours[down] = sky + (floor - sky) * clear
        return colours, depth

    def _shadows(self, places: np.ndarray) -> np.ndarray:
        """Where the floor is darker, since something stands close by: factors [n]."""
        light = np.ones(places.shape[1], np.float32)
        for thing in self._layout.things:
            light *= 0.6 + 0.4 * np.minimum(_apart(thing, places) / _SHADOW, 1.0)
        return light

    def _painted(self, surface: Texture, places: np.ndarray, depth: np.ndarray) -> np.ndarray:
        first, second = np.array(surface.colours, np.float32)
        share = _PATTERNS[surface.pattern](places / surface.scale, self._grain)
        # A pixel that covers more than a part of the pattern shows the mean of it.
        sharp = np.minimum(surface.scale / (4.0 * self._pixel * depth), 1.0)
        return first + (second - first) * (0.5 + (share - 0.5) * sharp)[:, None]

    def _developed(self, colours: np.ndarray) -> np.ndarray:
        camera = self._layout.camera
        levels = colours * (255.0 * camera.gain)
        levels += self._rng.standard_normal(levels.shape, np.float32) * camera.noise
        return np.clip(levels, 0.0, 255.0).astype(np.uint8).reshape(*self._size, 3)


def _rays(camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """Directions of all pixels in the robot's axes, float32 [3, pixels]; a unit forward in the camera's own."""
    height, width = size
    focal = width / 2 / math.tan(camera.fov / 2)
    up, left = np.meshgrid((height / 2 - 0.5 - np.arange(height)) / focal, (width / 2 - 0.5 - np.arange(width)) / focal)
    up, left = up.T.ravel(), left.T.ravel()
    sine, cosine = math.sin(camera.pitch), math.cos(camera.pitch)
    return np.stack([cosine + sine * up, left, cosine * up - sine]).astype(np.float32)


def _turned(vectors: np.ndarray, angle: float) -> np.ndarray:
    """Vectors [2 or 3, n] counter-clockwise around the vertical."""
    sine, cosine = math.sin(angle), math.cos(angle)
    turned = vectors.copy()
    turned[0] = cosine * vectors[0] - sine * vectors[1]
    turned[1] = sine * vectors[0] + cosine * vectors[1]
    return turned


def _box_hit(thing: Box, eye: np.ndarray, rays: np.ndarray) -> _Hit:
    """By slabs (Kay and Kajiya 1986), in the box's own axes."""
    pose = thing.pose
    within = _turned(eye[:, None] - np.array([[pose.x], [pose.y], [0.0]], np.float32), -pose.yaw)
    towards = _turned(rays, -pose.yaw)
    towards[towards == 0.0] = 1e-9
    high = np.array([[thing.length / 2], [thing.width / 2], [thing.height]], np.float32)
    low = np.array([[-thing.length / 2], [-thing.width / 2], [0.0]], np.float32)
    one, other = (low - within) / towards, (high - within) / towards
    enter, leave = np.minimum(one, other), np.maximum(one, other)
    first = enter.max(axis=0)
    missed = (first > leave.min(axis=0)) | (first <= 0.0)

    def look(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        face, each = enter[:, index].argmax(axis=0), np.arange(len(index))
        normals = np.zeros((3, len(index)), np.float32)
        normals[face, each] = -np.sign(towards[face, index])
        points = within + first[index] * towards[:, index]
        return _turned(normals, pose.yaw), np.stack([points[(face + 1) % 3, each], points[(face + 2) % 3, each]])

    return _Hit(np.where(missed, np.float32(np.inf), first), look)


def _cylinder_hit(thing: Cylinder, eye: np.ndarray, rays: np.ndarray) -> _Hit:
    """The nearer of mantle and top."""
    across = eye[:2] - np.array([thing.x, thing.y], np.float32)
    square = rays[0] ** 2 + rays[1] ** 2
    half = across @ rays[:2]
    root = half**2 - square * (across @ across - np.float32(thing.radius) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mantle = (-half - np.sqrt(root)) / square
        height = eye[2] + mantle * rays[2]
        mantle = np.where((mantle > 0.0) & (height >= 0.0) & (height <= thing.height), mantle, np.float32(np.inf))
        top = (thing.height - eye[2]) / rays[2]
        out = np.hypot(*(across[:, None] + top * rays[:2])) > thing.radius
        top = np.where(out | (top <= 0.0), np.float32(np.inf), top)

    def look(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = np.minimum(mantle, top)[index]
        points = across[:, None] + first * rays[:2, index]
        upper = top[index] < mantle[index]
        normals = np.where(upper, _UP, np.stack([*(points / thing.radius), np.zeros(len(index))]))
        around = np.arctan2(points[1], points[0]) * thing.radius
        places = np.where(upper, points, np.stack([around, eye[2] + first * rays[2, index]]))
        return normals.astype(np.float32), places.astype(np.float32)

    return _Hit(np.minimum(mantle, top), look)


def _apart(thing: Box | Cylinder, places: np.ndarray) -> np.ndarray:
    """Distances of places on the floor, [2, n], from what the thing covers of it."""
    if isinstance(thing, Cylinder):
        return np.maximum(np.hypot(*_from(places, thing.x, thing.y)) - np.float32(thing.radius), 0.0)
    own = np.abs(_turned(_from(places, thing.pose.x, thing.pose.y), -thing.pose.yaw))
    return np.hypot(*np.maximum(own - np.array([[thing.length / 2], [thing.width / 2]], np.float32), 0.0))


def _from(places: np.ndarray, x: float, y: float) -> np.ndarray:
    return places - np.array([[x], [y]], np.float32)


def _shade(light: Light, normals: np.ndarray) -> np.ndarray:
    """Lambert's share of light for normals [3, n]: [n]."""
    level = math.cos(light.elevation)
    direction = [level * math.cos(light.azimuth), level * math.sin(light.azimuth), math.sin(light.elevation)]
    direct = np.maximum(np.array(direction, np.float32) @ normals, 0.0)
    return light.ambient + (1.0 - light.ambient) * direct


def _checks(places: np.ndarray, grain: np.ndarray) -> np.ndarray:
    return (np.floor(places).astype(np.int64).sum(axis=0) & 1).astype(np.float32)


def _stripes(places: np.ndarray, grain: np.ndarray) -> np.ndarray:
    return (np.floor(places[0]).astype(np.int64) & 1).astype(np.float32)


def _noise_grain(places: np.ndarray, grain: np.ndarray) -> np.ndarray:
    cells = np.floor(places).astype(np.int64) % _GRAIN
    return grain[cells[0], cells[1]]


def _plain(places: np.ndarray, grain: np.ndarray) -> np.ndarray:
    return np.full(places.shape[1], 0.5, np.float32)


_PATTERNS = {"plain": _plain, "checks": _checks, "stripes": _stripes, "grain": _noise_grain}
