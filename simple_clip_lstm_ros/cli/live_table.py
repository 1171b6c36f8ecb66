"""Live status of a robot in a NodeHarness: a table in a terminal, a line per second in a pipe or log."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from simple_clip_lstm_ros.harness.node_harness import NodeHarness
    from simple_clip_lstm_ros.sim.layout import Cylinder, Pose

_LINE_PERIOD = 1.0  # s


def show_live(console: Console, steps: Iterator[tuple[str, dict[str, str]]], period: float) -> None:
    """Show the steps, one every `period` seconds.

    A step is a title and a row of values by name.
    """
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for title, row in steps:
                live.update(_table(title, row), refresh=True)
        return
    for index, (title, row) in enumerate(steps):
        if index % round(_LINE_PERIOD / period) == 0:
            values = "  ".join(f"{name} {value}" for name, value in row.items())
            console.print(f"{title} | {values}", soft_wrap=True)


def _table(title: str, row: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, min_width=72)
    for name, value in row.items():
        table.add_row(name, value)
    return table


def status_row(harness: NodeHarness, pose: Pose | None, cup: Cylinder) -> dict[str, str]:
    """Return the state of nodes and robot as texts by name."""
    age = harness.image_age()
    action, command = harness.action, harness.command
    return {
        "image age": f"{age * 1e3:.0f} ms" if age is not None else "no image",
        "action": _velocity(action.twist) if action else "none",
        "command": _velocity(command) if command else "none",
        "reason": harness.reason,
        "rate": f"commands {harness.rate('command'):.1f} Hz, inference {harness.rate('action'):.1f} Hz",
        "latency": f"{float(harness.latency) * 1e3:.0f} ms" if harness.latency else "none",
        "robot": f"x {pose.x:+.2f} m, y {pose.y:+.2f} m, heading {math.degrees(pose.yaw):+.0f}°" if pose else "unknown",
        "cup": f"{math.hypot(cup.x - pose.x, cup.y - pose.y):.2f} m away" if pose else "unknown",
    }


def _velocity(twist: object) -> str:
    return f"{twist.linear.x:+.3f} m/s, {twist.angular.z:+.3f} rad/s"  # type: ignore[attr-defined]
