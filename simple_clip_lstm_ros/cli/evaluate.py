"""Measure how well a checkpoint drives: with the real nodes in unseen worlds, or offline on recorded episodes.

In the worlds the robot is to drive around the box on the named side, to the cup. Each drive ends at the cup, at a
contact, or after 60 s. It succeeds if the robot comes within 0.3 m of the cup, has passed all boxes on the named side
and touched nothing. Proportions are given with 95 % intervals.

With --episodes (no ROS needed) the actions are compared with the recorded commands: the error (MAE) by axis and by
task, next to that of the best constants, and how often the direction is the recorded one where more than 0.05 m/s or
rad/s was commanded. A model that is no better than a constant has learned nothing; one that is better may still drive
badly.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from simple_clip_lstm_ros.cli.infer import warn_about_policy
from simple_clip_lstm_ros.cli.options import (
    CHECKPOINT,
    add_episode_label_options,
    add_json_option,
    add_policy_options,
    load_with_progress,
    print_json,
    steps_progress,
)
from simple_clip_lstm_ros.cli.ros import node_parameters, require_ros
from simple_clip_lstm_ros.cli.tables import make_console, new_table
from simple_clip_lstm_ros.errors import ConfigError, InputError, printable

if TYPE_CHECKING:
    from rich.table import Table

    from simple_clip_lstm_ros.evaluation.metrics import DriveMetrics
    from simple_clip_lstm_ros.sim.layout import Layout
    from simple_clip_lstm_ros.sim.world import World

_WORLD_OPTIONS: tuple[str, ...] = ("layouts", "first_seed", "conditions", "plot")
_EPISODE_OPTIONS: tuple[str, ...] = ("instruction", "action_scale")
_LAYOUTS = 40
_AS_TRAINED = "as trained"
_CONSTANT = "constant output, no model"
_SPEED = 0.4  # m/s, straight ahead; the constant output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT)
    parser.add_argument("--layouts", metavar="N", type=int, help=f"the eight tasks in turn; default: {_LAYOUTS}")
    parser.add_argument("--first-seed", metavar="N", type=int, help="of the layouts; those below are for training")
    parser.add_argument(
        "--conditions", metavar="NAME", nargs="+", help=f"some of the known, or all; default: {_AS_TRAINED}"
    )
    parser.add_argument("--plot", metavar="FILE", type=Path, help="all drives from above, as PNG, SVG or PDF")
    parser.add_argument("--episodes", metavar="DIR", type=Path, help="recorded episodes (.h5) in place of a world")
    add_episode_label_options(parser)
    add_policy_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> None:
    _check_options(args)
    if args.episodes:
        run_offline(args)
    else:
        _evaluate_drives(args)


def _check_options(args: argparse.Namespace) -> None:
    invalid, why = _EPISODE_OPTIONS, "episodes: name --episodes DIR"
    if args.episodes:
        invalid, why = _WORLD_OPTIONS, "drives in worlds: leave it out, or --episodes"
    for name in invalid:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is of {why}")


def _evaluate_drives(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.evaluation.metrics import summarize_drives
    from simple_clip_lstm_ros.sim.layout import sample_layout
    from simple_clip_lstm_ros.sim.perturbations import FIRST_SEED
    from simple_clip_lstm_ros.sim.scenario import SCENARIOS

    if args.plot:
        # Before the drives, which take minutes: its library may be missing.
        from simple_clip_lstm_ros.sim.plot import plot_map

    require_ros()
    first = FIRST_SEED if args.first_seed is None else args.first_seed
    layouts = _LAYOUTS if args.layouts is None else args.layouts
    if layouts < 1 or first < 0:
        raise InputError("--layouts must be at least 1, and --first-seed zero or more")
    names = _perturbation_names(args.conditions or [_AS_TRAINED])
    seeds = range(first, first + layouts)
    worlds = _drive(args, [sample_layout(SCENARIOS[seed % len(SCENARIOS)], seed) for seed in seeds], names)
    metrics = {name: summarize_drives(each) for name, each in worlds.items()}
    if args.plot:
        plot_map(worlds, args.plot)
    if args.json:
        print_json(
            {"layouts": layouts, "first seed": first, "scores": {n: _plain(each) for n, each in metrics.items()}}
        )
        return
    make_console().print(_table(layouts, metrics))


def _perturbation_names(names: list[str]) -> list[str]:
    from simple_clip_lstm_ros.sim.perturbations import PERTURBATIONS

    if names == ["all"]:
        return [*PERTURBATIONS]
    unknown = [name for name in names if name not in PERTURBATIONS]
    if unknown:
        raise InputError(f"unknown condition {unknown[0]!r}; there are all, {', '.join(PERTURBATIONS)}")
    return list(dict.fromkeys(names))


def _drive(args: argparse.Namespace, layouts: list[Layout], names: list[str]) -> dict[str, list[World]]:
    from simple_clip_lstm_ros.harness.lockstep import GUARD, NODE, Lockstep
    from simple_clip_lstm_ros.harness.node_harness import NodeHarness
    from simple_clip_lstm_ros.sim.perturbations import PERTURBATIONS

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        parameters = {**node_parameters(args, folder, precision=args.precision, engine=args.engine), **NODE}
        harness = stack.enter_context(NodeHarness(parameters, guard=GUARD, camera=None, threads=None, logs=folder))
        harness.start()
        lockstep = Lockstep(harness)
        progress = stack.enter_context(steps_progress())
        task = progress.add_task("driving", total=len(layouts) * len(names))
        worlds: dict[str, list[World]] = {_CONSTANT: [_drive_constant(layout) for layout in layouts]}
        for name in names:
            worlds[name] = []
            for layout in layouts:
                worlds[name].append(lockstep.drive(layout, PERTURBATIONS[name]))
                progress.advance(task)
        return worlds


def _drive_constant(layout: Layout) -> World:
    """Drive straight ahead without a model: the baseline for all other results."""
    from simple_clip_lstm_ros.control.velocity import Velocity
    from simple_clip_lstm_ros.sim.rollouts import PERIOD
    from simple_clip_lstm_ros.sim.world import World

    world = World(layout)
    while not world.outcome.ended:
        world.command(Velocity(_SPEED))
        world.advance(PERIOD)
    return world


def _plain(metrics: DriveMetrics) -> dict[str, Any]:
    shares = {"success": metrics.success, "obeyed": metrics.obeyed, "contact": metrics.contact}
    plain = {name: {**asdict(each), "share": each.value, "interval": each.interval} for name, each in shares.items()}
    means = {"time": metrics.time, "length": metrics.length, "unrest": metrics.mean_yaw_acceleration}
    return plain | means


def _table(layouts: int, metrics: dict[str, DriveMetrics]) -> Table:
    table = new_table("", f"{layouts} layouts", *_COLUMNS)
    for name, each in metrics.items():
        table.add_row(name, *(cell(each) for cell in _COLUMNS.values()))
    return table


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else ""


_COLUMNS: dict[str, Callable[[DriveMetrics], str]] = {
    "success": lambda metrics: str(metrics.success),
    "side obeyed": lambda metrics: str(metrics.obeyed),
    "contact": lambda metrics: str(metrics.contact),
    "time s": lambda metrics: _number(metrics.time, 1),
    "way m": lambda metrics: _number(metrics.length, 2),
    "unrest rad/s²": lambda metrics: f"{metrics.mean_yaw_acceleration:.2f}",
}


if TYPE_CHECKING:
    from simple_clip_lstm_ros.evaluation.metrics import AxisError, OfflineResult


def run_offline(args: argparse.Namespace) -> None:
    """Evaluate on recorded episodes, without ROS; `args` are those of `evaluate` with `episodes` given."""
    from simple_clip_lstm_ros.data.dataset import format_skipped, read_dataset
    from simple_clip_lstm_ros.data.dataset_stats import find_episodes
    from simple_clip_lstm_ros.evaluation.metrics import MOVING, evaluate_offline, format_verdict

    # Errors in the episodes are raised before gigabytes of a checkpoint are read.
    recordings, skipped = read_dataset(find_episodes(args.episodes), args.instruction, args.action_scale)
    policy = load_with_progress(args)
    warn_about_policy(policy)
    with steps_progress() as progress:
        task = progress.add_task("stepping", total=sum(len(each.episode) for each in recordings))
        result = evaluate_offline(policy, recordings, stepped=lambda: progress.advance(task))
    skipped |= result.unreadable
    if args.json:
        document = {"episodes": str(args.episodes), "untrained": policy.config.untrained, "moving above": MOVING}
        scenarios = {name: group.as_plain() for name, group in result.scenarios.items()}
        document |= {"total": result.total.as_plain(), "scenarios": scenarios, "left out": skipped}
        print_json(document | {"verdict": format_verdict(result.total)})
        return
    console = make_console()
    console.print(_offline_table(result))
    for line in format_skipped(skipped):
        console.print(printable(f"left out: {line}"))
    console.print(printable(format_verdict(result.total)))


def _offline_table(result: OfflineResult) -> Table:
    table = new_table("", "episodes", "axis", *_OFFLINE_COLUMNS)
    table.columns[1].justify = "left"
    for name, group in {"all": result.total, **result.scenarios}.items():
        head = f"{name}: {group.episodes}, {group.frames} frames"
        for axis, error in {**group.axes, "all axes": group.overall}.items():
            table.add_row(head, axis, *(cell(error) for cell in _OFFLINE_COLUMNS.values()))
            head = ""
    return table


def _format_share(value: float) -> str:
    return f"{value:.0%}" if math.isfinite(value) else ""


_OFFLINE_COLUMNS: dict[str, Callable[[AxisError], str]] = {
    "MAE": lambda each: f"{each.error:.3f}",
    "MAE of the mean": lambda each: f"{each.mean_error:.3f}",
    "MAE of the median": lambda each: f"{each.median_error:.3f}",
    "same direction": lambda each: _format_share(each.direction),
}
