"""Top-view plots of layouts and drives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from simple_clip_lstm_ros.files import save_figure
from simple_clip_lstm_ros.sim.layout import Layout, Pose
from simple_clip_lstm_ros.sim.scenario import SCENARIOS
from simple_clip_lstm_ros.sim.world import REACH, World

_GOOD, _BAD = "tab:green", "tab:red"
_MARGIN = 0.6  # m around a drive
_INSTRUCTION_COLORS = ("tab:blue", "tab:purple")


class InstructionMark(NamedTuple):
    """An instruction, and the index of the pose at which it was given."""

    instruction: str
    pose: int


class Map(NamedTuple):
    """A top view of a layout: `image` uint8 [height, width, 3] in RGB, and the axes that drew it."""

    image: np.ndarray
    axes: Axes

    def pixels(self, poses: Sequence[Pose]) -> np.ndarray:
        """Return the pixel coordinates of poses, [n, 2]: column and row."""
        points = self.axes.transData.transform(np.array([(pose.x, pose.y) for pose in poses]).reshape(-1, 2))
        return np.stack([points[:, 0], self.image.shape[0] - points[:, 1]], axis=1)


def plot_map(worlds: Mapping[str, Sequence[World]], path: Path) -> None:
    """Write an image with a row per condition and a column per task.

    PNG, SVG or PDF by its suffix. Successful drives are green, others red. Raise InputError for a path that cannot be
    written.
    """
    figure = Figure(figsize=(2.4 * len(SCENARIOS), 2.4 * len(worlds) + 0.4), layout="constrained")
    grid = figure.subplots(len(worlds), len(SCENARIOS), squeeze=False, sharex=True, sharey=True)
    for row, (name, condition_worlds) in zip(grid, worlds.items(), strict=True):
        for axes, scenario in zip(row, SCENARIOS, strict=True):
            for world in (world for world in condition_worlds if world.layout.scenario == scenario):
                _draw_boxes_and_cup(axes, world.layout, opacity=0.25)
                _draw_path(axes, world.path, world.outcome.success, width=0.8)
            axes.set_aspect("equal")
            axes.set_xlim(-1.0, 5.0)
            axes.set_ylim(-2.5, 2.5)
            axes.set_title(str(scenario) if axes in grid[0] else "", fontsize="small")
        row[0].set_ylabel(name, fontsize="small")
    save_figure(figure, path)


def plot_drive(
    layout: Layout, poses: Sequence[Pose], instructions: Sequence[InstructionMark], path: Path, *, good: bool
) -> None:
    """Write a plot of one drive, with its instructions where they were given.

    The path is green if `good`, else red. Raise InputError for a path that cannot be written.
    """
    figure = Figure(figsize=(7.0, 6.6), layout="constrained")
    axes = figure.subplots()
    _draw_world(axes, layout, poses)
    _draw_path(axes, poses, good, width=2.0)
    for number, mark in enumerate(instructions):
        pose, color = poses[mark.pose], _INSTRUCTION_COLORS[number % len(_INSTRUCTION_COLORS)]
        axes.plot(pose.x, pose.y, "o", color=color, markersize=9, label=mark.instruction, linestyle="none")
    axes.set_xlabel("m")
    axes.set_ylabel("m")
    figure.legend(loc="outside lower center", frameon=False)
    save_figure(figure, path)


def draw_map(layout: Layout, poses: Sequence[Pose], size: int) -> Map:
    """Draw a map of the layout without a robot.

    `size` is its height and width in pixels. All `poses` are inside.
    """
    figure = Figure(figsize=(size / 100, size / 100), dpi=100)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    _draw_world(axes, layout, poses)
    axes.set_axis_off()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Map(np.asarray(canvas.buffer_rgba())[:, :, :3].copy(), axes)


def _draw_world(axes: Axes, layout: Layout, poses: Sequence[Pose]) -> None:
    for distractor in layout.distractors:
        axes.fill(*distractor.footprint.exterior.xy, color="tab:gray", alpha=0.3, linewidth=0)
    _draw_boxes_and_cup(axes, layout, opacity=0.7)
    angles = np.linspace(0.0, 2.0 * np.pi, 60)
    cup = layout.cup
    axes.plot(cup.x + REACH * np.cos(angles), cup.y + REACH * np.sin(angles), ":", color="tab:orange", linewidth=1.0)
    for box in layout.boxes:
        axes.text(box.pose.x, box.pose.y, "box", ha="center", va="center", fontsize="small")
    axes.text(cup.x, cup.y - REACH, "cup", ha="center", va="top", fontsize="small")
    axes.text(layout.start.x, layout.start.y - 0.15, "start", ha="center", va="top", fontsize="small")
    box_poses = [box.pose for box in layout.boxes]
    points = np.array([(cup.x, cup.y), *((pose.x, pose.y) for pose in (layout.start, *box_poses, *poses))])
    low, high = points.min(axis=0), points.max(axis=0)
    (x, y), half = (low + high) / 2, max(high - low) / 2 + _MARGIN
    axes.set_aspect("equal")
    axes.set_xlim(x - half, x + half)
    axes.set_ylim(y - half, y + half)


def _draw_boxes_and_cup(axes: Axes, layout: Layout, opacity: float) -> None:
    for box in layout.boxes:
        axes.fill(*box.footprint.exterior.xy, color="tab:gray", alpha=opacity, linewidth=0)
    axes.plot(layout.cup.x, layout.cup.y, ".", color="tab:orange")


def _draw_path(axes: Axes, poses: Sequence[Pose], good: bool, width: float) -> None:
    color = _GOOD if good else _BAD
    axes.plot([pose.x for pose in poses], [pose.y for pose in poses], color=color, linewidth=width)
