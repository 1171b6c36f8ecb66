"""The half of `evaluate` that needs no ROS: the errors of a policy on recorded episodes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.table import Table

from simple_clip_lstm_ros.cli.benchmark_tables import new_table
from simple_clip_lstm_ros.cli.infer import warn_of
from simple_clip_lstm_ros.cli.options import load_with_progress, print_json, steps_progress, tables
from simple_clip_lstm_ros.errors import printable

if TYPE_CHECKING:
    from simple_clip_lstm_ros.data.offline import Fit, Offline


def evaluate_offline(args: argparse.Namespace) -> None:
    """Of `evaluate`'s arguments, where `episodes` is given."""
    from simple_clip_lstm_ros.data.offline import MOVING, offline, verdict
    from simple_clip_lstm_ros.data.recordings import in_words, read_recordings
    from simple_clip_lstm_ros.data.summary import find_episodes

    # What the episodes lack is told before a checkpoint of gigabytes is read.
    recordings, left_out = read_recordings(find_episodes(args.episodes), args.instruction, args.action_scale)
    policy = load_with_progress(args)
    warn_of(policy)
    with steps_progress() as progress:
        task = progress.add_task("stepping", total=sum(len(each.episode) for each in recordings))
        found = offline(policy, recordings, stepped=lambda: progress.advance(task))
    left_out |= found.unreadable
    if args.json:
        document = {"episodes": str(args.episodes), "untrained": policy.config.untrained, "moving above": MOVING}
        scenarios = {name: group.as_plain() for name, group in found.scenarios.items()}
        document |= {"total": found.total.as_plain(), "scenarios": scenarios, "left out": left_out}
        print_json(document | {"verdict": verdict(found.total)})
        return
    console = tables()
    console.print(_table(found))
    for line in in_words(left_out):
        console.print(printable(f"left out: {line}"))
    console.print(printable(verdict(found.total)))


def _table(found: Offline) -> Table:
    table = new_table("", "episodes", "axis", *_COLUMNS)
    table.columns[1].justify = "left"
    for name, group in {"all": found.total, **found.scenarios}.items():
        head = f"{name}: {group.episodes}, {group.frames} frames"
        for axis, fit in {**group.axes, "all axes": group.overall}.items():
            table.add_row(head, axis, *(cell(fit) for cell in _COLUMNS.values()))
            head = ""
    return table


def _share(value: float) -> str:
    return f"{value:.0%}" if math.isfinite(value) else ""


_COLUMNS: dict[str, Callable[[Fit], str]] = {
    "MAE": lambda fit: f"{fit.error:.3f}",
    "MAE of the mean": lambda fit: f"{fit.mean_error:.3f}",
    "MAE of the median": lambda fit: f"{fit.median_error:.3f}",
    "same direction": lambda fit: _share(fit.direction),
}
