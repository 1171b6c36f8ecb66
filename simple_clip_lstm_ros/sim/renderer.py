"""A ray caster for the robot's camera: one ray per pixel, the nearest hit is drawn.

NumPy only, so that no GPU, display or renderer is needed; a frame takes some milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from simple_clip_lstm_ros.sim.layout import Box, Camera, Cylinder, Layout, Light, Pose, Texture

_FOG = 8.0  # m; at this distance the floor has faded to a third (1/e)
_GRAIN = 64  # cells along each side of the grain table
_UP = np.array([[0.0], [0.0], [1.0]], np.float32)
_SHADOW = 0.06  # m around objects on the floor


class _Hit(NamedTuple):
    """Intersections of rays with an object, and its normals and surface coordinates (m) there."""

    distance: np.ndarray  # [rays], in units of the ray's length; inf for a miss
    surface_at: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # ray indices -> normals [3, n], points [2, n]


class CameraRenderer:
    """Renders frames of one layout, uint8 [height, width, 3] in RGB, with noise from `rng`."""

    def __init__(self, layout: Layout, size: tuple[int, int], rng: np.random.Generator) -> None:
        """Prepare for frames of `size` (height, width)."""
        self._layout = layout
        self._size = size
        self._rng = rng
        self._rays = _rays(layout.camera, size)
        self._grain = np.random.default_rng(layout.seed).random((_GRAIN, _GRAIN), np.float32)
        self._pixel = layout.camera.fov / size[1]  # rad

    def __call__(self, pose: Pose) -> np.ndarray:
        layout = self._layout
        origin = np.array([pose.x, pose.y, layout.camera.height], np.float32)
        rays = _rotate(self._rays, pose.yaw)
        colors, depth = self._floor_and_sky(origin, rays)
        for obj in layout.objects:
            hit = _box_hit(obj, origin, rays) if isinstance(obj, Box) else _cylinder_hit(obj, origin, rays)
            nearer = np.flatnonzero(hit.distance < depth)
            if nearer.size:
                depth[nearer] = hit.distance[nearer]
                normals, points = hit.surface_at(nearer)
                shade = _shade(layout.light, normals)
                colors[nearer] = self._apply_texture(obj.surface, points, depth[nearer]) * shade[:, None]
        return self._expose(colors)

    def _floor_and_sky(self, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        layout = self._layout
        sky = np.array(layout.sky, np.float32)
        colors = np.broadcast_to(sky, (rays.shape[1], 3)).copy()
        depth = np.full(rays.shape[1], np.inf, np.float32)
        down = np.flatnonzero(rays[2] < -1e-3)
        depth[down] = -origin[2] / rays[2, down]
        points = origin[:2, None] + depth[down] * rays[:2, down]
        floor = self._apply_texture(layout.floor, points, depth[down])
        floor *= (_shade(layout.light, _UP) * self._shadows(points))[:, None]
        visibility = np.exp(-depth[down, None] / _FOG)
        colors[down] = sky + (floor - sky) * visibility
        return colors, depth

    def _shadows(self, points: np.ndarray) -> np.ndarray:
        """Return brightness factors [n] of floor points [2, n], darker near objects."""
        factors = np.ones(points.shape[1], np.float32)
        for obj in self._layout.objects:
            factors *= 0.6 + 0.4 * np.minimum(_distance(obj, points) / _SHADOW, 1.0)
        return factors

    def _apply_texture(self, surface: Texture, points: np.ndarray, depth: np.ndarray) -> np.ndarray:
        first, second = np.array(surface.colors, np.float32)
        blend = _PATTERNS[surface.pattern](points / surface.scale, self._grain)
        # A pixel that covers more than one element of the pattern shows their mean.
        contrast = np.minimum(surface.scale / (4.0 * self._pixel * depth), 1.0)
        return first + (second - first) * (0.5 + (blend - 0.5) * contrast)[:, None]

    def _expose(self, colors: np.ndarray) -> np.ndarray:
        camera = self._layout.camera
        levels = colors * (255.0 * camera.gain)
        levels += self._rng.standard_normal(levels.shape, np.float32) * camera.noise
        return np.clip(levels, 0.0, 255.0).astype(np.uint8).reshape(*self._size, 3)


def _rays(camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """Return ray directions in the robot's axes, float32 [3, pixels].

    Their component along the camera axis is 1.
    """
    height, width = size
    focal = width / 2 / math.tan(camera.fov / 2)
    up, left = np.meshgrid((height / 2 - 0.5 - np.arange(height)) / focal, (width / 2 - 0.5 - np.arange(width)) / focal)
    up, left = up.T.ravel(), left.T.ravel()
    sine, cosine = math.sin(camera.pitch), math.cos(camera.pitch)
    return np.stack([cosine + sine * up, left, cosine * up - sine]).astype(np.float32)


def _rotate(vectors: np.ndarray, angle: float) -> np.ndarray:
    """Return vectors [2 or 3, n] rotated counterclockwise about the vertical axis by `angle` (rad)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    rotated = vectors.copy()
    rotated[0] = cosine * vectors[0] - sine * vectors[1]
    rotated[1] = sine * vectors[0] + cosine * vectors[1]
    return rotated


def _box_hit(box: Box, origin: np.ndarray, rays: np.ndarray) -> _Hit:
    """Intersect rays with a box by the slab method (Kay and Kajiya 1986), in the box's axes."""
    pose = box.pose
    local_origin = _rotate(origin[:, None] - np.array([[pose.x], [pose.y], [0.0]], np.float32), -pose.yaw)
    local_rays = _rotate(rays, -pose.yaw)
    local_rays[local_rays == 0.0] = 1e-9
    high = np.array([[box.length / 2], [box.width / 2], [box.height]], np.float32)
    low = np.array([[-box.length / 2], [-box.width / 2], [0.0]], np.float32)
    to_low, to_high = (low - local_origin) / local_rays, (high - local_origin) / local_rays
    enter, leave = np.minimum(to_low, to_high), np.maximum(to_low, to_high)
    first = enter.max(axis=0)
    missed = (first > leave.min(axis=0)) | (first <= 0.0)

    def surface_at(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        face, each = enter[:, index].argmax(axis=0), np.arange(len(index))
        normals = np.zeros((3, len(index)), np.float32)
        normals[face, each] = -np.sign(local_rays[face, index])
        points = local_origin + first[index] * local_rays[:, index]
        return _rotate(normals, pose.yaw), np.stack([points[(face + 1) % 3, each], points[(face + 2) % 3, each]])

    return _Hit(np.where(missed, np.float32(np.inf), first), surface_at)


def _cylinder_hit(cylinder: Cylinder, origin: np.ndarray, rays: np.ndarray) -> _Hit:
    """Intersect rays with a cylinder: the nearer of lateral surface and top."""
    offset = origin[:2] - np.array([cylinder.x, cylinder.y], np.float32)
    square = rays[0] ** 2 + rays[1] ** 2
    half = offset @ rays[:2]
    root = half**2 - square * (offset @ offset - np.float32(cylinder.radius) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        lateral = (-half - np.sqrt(root)) / square
        height = origin[2] + lateral * rays[2]
        lateral = np.where((lateral > 0.0) & (height >= 0.0) & (height <= cylinder.height), lateral, np.float32(np.inf))
        top = (cylinder.height - origin[2]) / rays[2]
        outside = np.hypot(*(offset[:, None] + top * rays[:2])) > cylinder.radius
        top = np.where(outside | (top <= 0.0), np.float32(np.inf), top)

    def surface_at(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = np.minimum(lateral, top)[index]
        points = offset[:, None] + first * rays[:2, index]
        is_top = top[index] < lateral[index]
        normals = np.where(is_top, _UP, np.stack([*(points / cylinder.radius), np.zeros(len(index))]))
        arc = np.arctan2(points[1], points[0]) * cylinder.radius
        coordinates = np.where(is_top, points, np.stack([arc, origin[2] + first * rays[2, index]]))
        return normals.astype(np.float32), coordinates.astype(np.float32)

    return _Hit(np.minimum(lateral, top), surface_at)


def _distance(obj: Box | Cylinder, points: np.ndarray) -> np.ndarray:
    """Return the distances (m) of floor points [2, n] from the footprint of an object."""
    if isinstance(obj, Cylinder):
        return np.maximum(np.hypot(*_relative_to(points, obj.x, obj.y)) - np.float32(obj.radius), 0.0)
    local = np.abs(_rotate(_relative_to(points, obj.pose.x, obj.pose.y), -obj.pose.yaw))
    return np.hypot(*np.maximum(local - np.array([[obj.length / 2], [obj.width / 2]], np.float32), 0.0))


def _relative_to(points: np.ndarray, x: float, y: float) -> np.ndarray:
    return points - np.array([[x], [y]], np.float32)


def _shade(light: Light, normals: np.ndarray) -> np.ndarray:
    """Return the Lambertian shading factors [n] for normals [3, n]."""
    level = math.cos(light.elevation)
    direction = [level * math.cos(light.azimuth), level * math.sin(light.azimuth), math.sin(light.elevation)]
    direct = np.maximum(np.array(direction, np.float32) @ normals, 0.0)
    return light.ambient + (1.0 - light.ambient) * direct


def _checks(points: np.ndarray, grain: np.ndarray) -> np.ndarray:
    return (np.floor(points).astype(np.int64).sum(axis=0) & 1).astype(np.float32)


def _stripes(points: np.ndarray, grain: np.ndarray) -> np.ndarray:
    return (np.floor(points[0]).astype(np.int64) & 1).astype(np.float32)


def _noise_grain(points: np.ndarray, grain: np.ndarray) -> np.ndarray:
    cells = np.floor(points).astype(np.int64) % _GRAIN
    return grain[cells[0], cells[1]]


def _plain(points: np.ndarray, grain: np.ndarray) -> np.ndarray:
    return np.full(points.shape[1], 0.5, np.float32)


_PATTERNS = {"plain": _plain, "checks": _checks, "stripes": _stripes, "grain": _noise_grain}
