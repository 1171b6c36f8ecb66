"""Plots, video and files of a replay."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from simple_clip_lstm_ros.control.velocity import AXES, UNITS, Velocity
from simple_clip_lstm_ros.data.overlay import draw_text, upscale_small
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.evaluation.replay import ReplayTick
from simple_clip_lstm_ros.evaluation.replay_result import KeyFrame, ReplayResult
from simple_clip_lstm_ros.files import write_errors_as
from simple_clip_lstm_ros.json_utils import write_json
from simple_clip_lstm_ros.sim.plot import save_figure

_NOW, _THEN = "tab:blue", "tab:orange"
_RATE = 5.0  # pictures a second in the film
_MAX_WIDTH = 640  # pixels
_COLUMNS = 3


def plot_commands(found: ReplayResult, path: Path) -> None:
    """Each axis that is ever used: replayed and recorded, and below both their difference. Raises InputError."""
    times, replayed, recorded = found.times, found.replayed, found.recorded
    known = np.nan_to_num(recorded)
    used = [axis for column, axis in enumerate(AXES) if replayed[:, column].any() or known[:, column].any()] or [
        AXES[0]
    ]
    figure = Figure(figsize=(11.0, 3.2 * len(used)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(2 * len(used), 1, sharex=True, squeeze=False, height_ratios=[2.0, 1.0] * len(used))[:, 0]
    for axis, above, below in zip(used, rows[::2], rows[1::2], strict=True):
        column = AXES.index(axis)
        now, then = replayed[:, column], recorded[:, column]
        above.plot(times, then, color=_THEN, linewidth=1.4, label="recorded")
        above.plot(times, now, color=_NOW, linewidth=1.0, label="replayed")
        above.set_ylabel(f"{axis}\n{UNITS[axis]}")
        below.fill_between(times, now - then, color="tab:red", alpha=0.6, linewidth=0.0)
        below.set_ylabel("difference")
        for each in (above, below):
            each.axhline(0.0, color="grey", linewidth=0.6)
            each.spines[["top", "right"]].set_visible(False)
    rows[0].legend(loc="upper right", frameon=False, ncols=2)
    rows[-1].set_xlabel("s since the beginning")
    save_figure(figure, path)


def plot_contact_sheet(shots: list[KeyFrame], path: Path) -> None:
    """The frames, with what is and was commanded. Raises InputError."""
    rows = max(-(-len(shots) // _COLUMNS), 1)
    figure = Figure(figsize=(4.2 * _COLUMNS, 3.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    cells = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for cell, shot in zip_longest(cells, shots):
        cell.set_axis_off()
        if shot is not None:
            cell.imshow(shot.moment.frame)
            cell.set_title("\n".join(describe_tick(shot.moment, shot.time)), fontsize=8, loc="left")
    save_figure(figure, path)


def describe_tick(moment: ReplayTick, time: float) -> list[str]:
    """What happens at that moment, for people."""
    recorded = "not known" if moment.recorded is None else _format_velocity(moment.recorded)
    return [
        f"{time:.1f} s  {moment.instruction or 'no instruction'}",
        f"replayed  {_format_velocity(moment.velocity)}  {moment.reason.name}",
        f"recorded  {recorded}  {moment.recorded_reason}",
    ]


def _format_velocity(velocity: Velocity) -> str:
    x, y, yaw = velocity.as_tuple()
    return f"x {x:+.2f}  y {y:+.2f} m/s  yaw {yaw:+.2f} rad/s"


class VideoWriter:
    """`with Film(path) as film:` and `film.take(...)` at each moment; five pictures a second get into it.

    MPEG-4 Part 2, which every OpenCV writes and every player plays, though no browser; VP8 takes thirty times as long.
    Raises InputError where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._next = 0.0

    def take(self, moment: ReplayTick, time: float) -> None:
        if moment.frame is None or time < self._next:
            return
        self._next = max(self._next + 1.0 / _RATE, time)
        frame = draw_text(upscale_small(_downscale(moment.frame)), describe_tick(moment, time))
        if self._writer is None:
            self._size = (frame.shape[1] // 2 * 2, frame.shape[0] // 2 * 2)  # no odd sides
            self._writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), _RATE, self._size)
            if not self._writer.isOpened():
                raise InputError(f"{self._path} cannot be written: is the folder there?")
        self._writer.write(cv2.cvtColor(cv2.resize(frame, self._size), cv2.COLOR_RGB2BGR))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.release()


def _downscale(frame: np.ndarray) -> np.ndarray:
    height, width, _ = frame.shape
    if width <= _MAX_WIDTH:
        return frame
    return cv2.resize(frame, (_MAX_WIDTH, round(height * _MAX_WIDTH / width)), interpolation=cv2.INTER_AREA)


VIDEO = "drive.mp4"


def make_folder(out: Path) -> None:
    """Unless it is there. Raises InputError."""
    with write_errors_as(InputError, out):
        out.mkdir(parents=True, exist_ok=True)


def write_files(out: Path, found: ReplayResult, document: Mapping[str, Any]) -> None:
    """All but the film, which is written as it goes. Raises InputError."""
    write_json(out / "replay.json", document)
    plot_commands(found, out / "commands.png")
    plot_contact_sheet(found.shots, out / "frames.png")
