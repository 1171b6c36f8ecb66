"""Write the plots, the video and the JSON file of a replay."""

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
from simple_clip_lstm_ros.files import save_figure, write_errors_as
from simple_clip_lstm_ros.json_utils import write_json

_REPLAYED_COLOR, _RECORDED_COLOR = "tab:blue", "tab:orange"
_RATE = 5.0  # video frames per second
_MAX_WIDTH = 640  # pixels
_COLUMNS = 3


def plot_commands(result: ReplayResult, path: Path) -> None:
    """Plot replayed and recorded commands, and their difference, for each axis that is used.

    Raise InputError if the file cannot be written.
    """
    times, replayed, recorded = result.times, result.replayed, result.recorded
    known = np.nan_to_num(recorded)
    used = [axis for column, axis in enumerate(AXES) if replayed[:, column].any() or known[:, column].any()] or [
        AXES[0]
    ]
    figure = Figure(figsize=(11.0, 3.2 * len(used)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(2 * len(used), 1, sharex=True, squeeze=False, height_ratios=[2.0, 1.0] * len(used))[:, 0]
    for axis, above, below in zip(used, rows[::2], rows[1::2], strict=True):
        column = AXES.index(axis)
        replayed_axis, recorded_axis = replayed[:, column], recorded[:, column]
        above.plot(times, recorded_axis, color=_RECORDED_COLOR, linewidth=1.4, label="recorded")
        above.plot(times, replayed_axis, color=_REPLAYED_COLOR, linewidth=1.0, label="replayed")
        above.set_ylabel(f"{axis}\n{UNITS[axis]}")
        below.fill_between(times, replayed_axis - recorded_axis, color="tab:red", alpha=0.6, linewidth=0.0)
        below.set_ylabel("difference")
        for each in (above, below):
            each.axhline(0.0, color="gray", linewidth=0.6)
            each.spines[["top", "right"]].set_visible(False)
    rows[0].legend(loc="upper right", frameon=False, ncols=2)
    rows[-1].set_xlabel("s since the beginning")
    save_figure(figure, path)


def plot_contact_sheet(key_frames: list[KeyFrame], path: Path) -> None:
    """Plot the key frames with the replayed and recorded commands. Raise InputError if not written."""
    rows = max(-(-len(key_frames) // _COLUMNS), 1)
    figure = Figure(figsize=(4.2 * _COLUMNS, 3.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    cells = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for cell, key_frame in zip_longest(cells, key_frames):
        cell.set_axis_off()
        if key_frame is not None:
            cell.imshow(key_frame.tick.frame)
            cell.set_title("\n".join(describe_tick(key_frame.tick, key_frame.time)), fontsize=8, loc="left")
    save_figure(figure, path)


def describe_tick(tick: ReplayTick, time: float) -> list[str]:
    """Return lines that describe a tick: time, instruction, and both commands with their reasons."""
    recorded = "not known" if tick.recorded is None else _format_velocity(tick.recorded)
    return [
        f"{time:.1f} s  {tick.instruction or 'no instruction'}",
        f"replayed  {_format_velocity(tick.velocity)}  {tick.reason.name}",
        f"recorded  {recorded}  {tick.recorded_reason}",
    ]


def _format_velocity(velocity: Velocity) -> str:
    x, y, yaw = velocity.as_tuple()
    return f"x {x:+.2f}  y {y:+.2f} m/s  yaw {yaw:+.2f} rad/s"


class VideoWriter:
    """Writes an annotated video of a replay: call `write_tick` for every tick; it keeps five frames per second.

    MPEG-4 Part 2: every OpenCV writes it and every player plays it, but browsers do not; VP8 takes thirty times as
    long. Raise InputError if the video cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._next = 0.0

    def write_tick(self, tick: ReplayTick, time: float) -> None:
        if tick.frame is None or time < self._next:
            return
        self._next = max(self._next + 1.0 / _RATE, time)
        frame = draw_text(upscale_small(_downscale(tick.frame)), describe_tick(tick, time))
        if self._writer is None:
            self._size = (frame.shape[1] // 2 * 2, frame.shape[0] // 2 * 2)  # codecs need even sides
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
    """Create the folder unless it exists. Raise InputError if that fails."""
    with write_errors_as(InputError, out):
        out.mkdir(parents=True, exist_ok=True)


def write_files(out: Path, result: ReplayResult, document: Mapping[str, Any]) -> None:
    """Write all files except the video, which is written during the replay. Raise InputError on failure."""
    write_json(out / "replay.json", document)
    plot_commands(result, out / "commands.png")
    plot_contact_sheet(result.key_frames, out / "frames.png")
