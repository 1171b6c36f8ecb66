"""Animated GIF of a drive: the camera view next to a map with the robot's path."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from simple_clip_lstm_ros.data.overlay import draw_text
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.files import write_errors_as
from simple_clip_lstm_ros.sim.layout import Layout, Pose
from simple_clip_lstm_ros.sim.plot import Map, draw_map

PERIOD = 0.2  # s between frames
_LAST_PERIOD = 3.0  # s; duration of the last frame
_VIEW = (240, 320)  # height, width in pixels; the map is square and has the same height
_CAPTION = 34  # height in pixels
_COLORS = (128, 64, 32, 16, 8)
_MAX_FRAMES = 160
_MAX_BYTES = 3_000_000
_PATH, _ROBOT, _CUP, _PAPER = (44, 160, 44), (31, 119, 180), (255, 127, 14), (255, 255, 255)


class _Frame(NamedTuple):
    view: np.ndarray
    lines: Sequence[str]
    num_poses: int  # of the drive until this frame


class DriveGif:
    """Collects a frame each PERIOD by `add_frame`, then `write` makes the file."""

    def __init__(self) -> None:
        self._frames: list[_Frame] = []

    def add_frame(self, view: np.ndarray, lines: Sequence[str], num_poses: int) -> None:
        """Add a frame with caption lines.

        `view` is uint8 RGB [height, width, 3], `num_poses` the number of poses of the drive so far.
        """
        self._frames.append(_Frame(view, lines, num_poses))

    def write(self, path: Path, layout: Layout, poses: Sequence[Pose]) -> None:
        """Write a GIF below 3 MB, with fewer frames and colors if necessary.

        Raise InputError if it cannot be written.
        """
        every = math.ceil(len(self._frames) / _MAX_FRAMES)
        images = [Image.fromarray(image) for image in self._render(layout, poses, every)]
        with write_errors_as(InputError, path):
            for colors in _COLORS:
                _write(path, images, every * PERIOD, colors)
                if path.stat().st_size < _MAX_BYTES:
                    return

    def _render(self, layout: Layout, poses: Sequence[Pose], every: int) -> Iterator[np.ndarray]:
        ground = draw_map(layout, poses, _VIEW[0])
        pixels = ground.pixels(poses)
        # Counted from the end, so that the last frame is always there.
        for frame in self._frames[::-every][::-1]:
            view = cv2.resize(frame.view, _VIEW[::-1], interpolation=cv2.INTER_LINEAR)
            now = max(frame.num_poses - 1, 0)
            top_view = _draw_robot(ground, pixels[: now + 1], poses[now].yaw)
            caption = draw_text(np.zeros((_CAPTION, sum(_VIEW), 3), np.uint8), frame.lines)
            yield np.vstack([np.hstack([view, top_view]), caption])


def _draw_robot(ground: Map, pixels: np.ndarray, yaw: float) -> np.ndarray:
    """Draw the path and the robot at its end into a copy of the map.

    `pixels` is [n, 2], column and row; `yaw` in rad.
    """
    drawn = ground.image.copy()
    cv2.polylines(drawn, [np.round(pixels).astype(np.int32)], False, _PATH, 2, cv2.LINE_AA)
    x, y = (round(float(each)) for each in pixels[-1])
    cv2.circle(drawn, (x, y), 7, _ROBOT, -1, cv2.LINE_AA)
    ahead = (round(x + 14 * math.cos(yaw)), round(y - 14 * math.sin(yaw)))
    cv2.line(drawn, (x, y), ahead, _ROBOT, 2, cv2.LINE_AA)
    return drawn


def _write(path: Path, images: Sequence[Image.Image], period: float, colors: int) -> None:
    # One palette for all frames: pixels that do not change then take no bytes.
    samples = [np.asarray(image) for image in images[:: max(1, len(images) // 8)]]
    # The colors of the map have few pixels; without swatches the palette would lose them.
    swatches = [np.full((_CAPTION, samples[0].shape[1], 3), each, np.uint8) for each in (_PATH, _ROBOT, _CUP, _PAPER)]
    palette = Image.fromarray(np.vstack([*samples, *swatches])).quantize(colors)
    first, *others = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
    durations = [round(period * 1e3)] * len(others) + [round(_LAST_PERIOD * 1e3)]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)
