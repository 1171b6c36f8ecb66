"""What a robot on a Stage does, live: a table at a terminal, a line a second in a pipe or a log."""

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

_LINE_EVERY = 1.0  # s


def show_live(console: Console, acts: Iterator[tuple[str, dict[str, str]]], period: float) -> None:
    """Each act has a title and what is so then, by name; one comes every `period`."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for title, row in acts:
                live.update(_table(title, row), refresh=True)
        return
    for index, (title, row) in enumerate(acts):
        if index % round(_LINE_EVERY / period) == 0:
            values = "  ".join(f"{name} {value}" for name, value in row.items())
            console.print(f"{title} | {values}", soft_wrap=True)


def _table(title: str, row: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, min_width=72)
    for name, value in row.items():
        table.add_row(name, value)
    return table


def status_row(stage: NodeHarness, pose: Pose | None, cup: Cylinder) -> dict[str, str]:
    age = stage.image_age()
    action, command = stage.action, stage.command
    return {
        "image age": f"{age * 1e3:.0f} ms" if age is not None else "no image",
        "action": _velocity(action.twist) if action else "none",
        "command": _velocity(command) if command else "none",
        "reason": stage.reason,
        "rate": f"commands {stage.rate('command'):.1f} Hz, inference {stage.rate('action'):.1f} Hz",
        "latency": f"{float(stage.latency) * 1e3:.0f} ms" if stage.latency else "none",
        "robot": f"x {pose.x:+.2f} m, y {pose.y:+.2f} m, heading {math.degrees(pose.yaw):+.0f}°" if pose else "unknown",
        "cup": f"{math.hypot(cup.x - pose.x, cup.y - pose.y):.2f} m away" if pose else "unknown",
    }


def _velocity(twist: object) -> str:
    return f"{twist.linear.x:+.3f} m/s, {twist.angular.z:+.3f} rad/s"  # type: ignore[attr-defined]
