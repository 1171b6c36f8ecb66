"""What the robot saw on a drive, beside its way from above, as an animated picture."""

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

PERIOD = 0.2  # s between pictures
_REST = 3.0  # s that the last one stays
_VIEW = (240, 320)  # height, width in pixels; the map is as high, and square
_CAPTION = 34  # pixels
_COLOURS = (128, 64, 32, 16, 8)
_MOST_PICTURES = 160
_MOST_BYTES = 3_000_000
_WAY, _ROBOT, _CUP, _PAPER = (44, 160, 44), (31, 119, 180), (255, 127, 14), (255, 255, 255)


class _Frame(NamedTuple):
    view: np.ndarray
    lines: Sequence[str]
    way: int  # how many poses there were


class DriveGif:
    """`take` a shot each PERIOD, then `write` the file."""

    def __init__(self) -> None:
        self._shots: list[_Frame] = []

    def take(self, view: np.ndarray, lines: Sequence[str], way: int) -> None:
        """`view` is uint8 [height, width, 3] in RGB, `way` the number of poses that the drive had so far."""
        self._shots.append(_Frame(view, lines, way))

    def write(self, path: Path, layout: Layout, poses: Sequence[Pose]) -> None:
        """As a GIF below 3 MB, of fewer pictures and colours if need be. Raises InputError if it cannot be written."""
        every = math.ceil(len(self._shots) / _MOST_PICTURES)
        pictures = [Image.fromarray(picture) for picture in self._pictures(layout, poses, every)]
        with write_errors_as(InputError, path):
            for colours in _COLOURS:
                _write(path, pictures, every * PERIOD, colours)
                if path.stat().st_size < _MOST_BYTES:
                    return

    def _pictures(self, layout: Layout, poses: Sequence[Pose], every: int) -> Iterator[np.ndarray]:
        ground = draw_map(layout, poses, _VIEW[0])
        places = ground.pixels(poses)
        for shot in self._shots[::-every][::-1]:
            view = cv2.resize(shot.view, _VIEW[::-1], interpolation=cv2.INTER_LINEAR)
            now = max(shot.way - 1, 0)
            beside = _with_robot(ground, places[: now + 1], poses[now].yaw)
            caption = draw_text(np.zeros((_CAPTION, sum(_VIEW), 3), np.uint8), shot.lines)
            yield np.vstack([np.hstack([view, beside]), caption])


def _with_robot(ground: Map, places: np.ndarray, yaw: float) -> np.ndarray:
    """Its way so far, and where it is and looks now."""
    drawn = ground.image.copy()
    cv2.polylines(drawn, [np.round(places).astype(np.int32)], False, _WAY, 2, cv2.LINE_AA)
    x, y = (round(float(each)) for each in places[-1])
    cv2.circle(drawn, (x, y), 7, _ROBOT, -1, cv2.LINE_AA)
    ahead = (round(x + 14 * math.cos(yaw)), round(y - 14 * math.sin(yaw)))
    cv2.line(drawn, (x, y), ahead, _ROBOT, 2, cv2.LINE_AA)
    return drawn


def _write(path: Path, pictures: Sequence[Image.Image], period: float, colours: int) -> None:
    # One palette for all: what stays the same from picture to picture then takes no bytes.
    some = [np.asarray(picture) for picture in pictures[:: max(1, len(pictures) // 8)]]
    # Few pixels of the map have a colour, and it must not be lost.
    swatches = [np.full((_CAPTION, some[0].shape[1], 3), each, np.uint8) for each in (_WAY, _ROBOT, _CUP, _PAPER)]
    palette = Image.fromarray(np.vstack([*some, *swatches])).quantize(colours)
    first, *others = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    durations = [round(period * 1e3)] * len(others) + [round(_REST * 1e3)]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)
