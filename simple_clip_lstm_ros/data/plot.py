"""Drives from above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.sim.scenario import SCENARIOS
from simple_clip_lstm_ros.sim.world import World

_GOOD, _BAD = "tab:green", "tab:red"


def plot(worlds: Mapping[str, Sequence[World]], path: Path) -> None:
    """A picture (PNG, SVG or PDF by the name) with a row for each condition and a column for each task.

    Drives that succeed are green and others red. Raises InputError for a path that cannot be written.
    """
    figure = Figure(figsize=(2.4 * len(SCENARIOS), 2.4 * len(worlds) + 0.4), layout="constrained")
    grid = figure.subplots(len(worlds), len(SCENARIOS), squeeze=False, sharex=True, sharey=True)
    for row, (name, driven) in zip(grid, worlds.items(), strict=True):
        for axes, scenario in zip(row, SCENARIOS, strict=True):
            _draw(axes, [world for world in driven if world.layout.scenario == scenario])
            axes.set_title(str(scenario) if axes in grid[0] else "", fontsize="small")
        row[0].set_ylabel(name, fontsize="small")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}") from None


def _draw(axes: Axes, worlds: Sequence[World]) -> None:
    for world in worlds:
        for box in world.layout.boxes:
            axes.fill(*box.footprint.exterior.xy, color="tab:gray", alpha=0.25, linewidth=0)
        axes.plot(world.layout.cup.x, world.layout.cup.y, ".", color="tab:orange")
        colour = _GOOD if world.outcome.success else _BAD
        axes.plot([pose.x for pose in world.path], [pose.y for pose in world.path], color=colour, linewidth=0.8)
    axes.set_aspect("equal")
    axes.set_xlim(-1.0, 5.0)
    axes.set_ylim(-2.5, 2.5)
