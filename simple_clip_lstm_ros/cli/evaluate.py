"""Does it drive? The real nodes, in worlds that the model has never seen: around the box on the named side, to the cup.

Each drive ends at the cup, at a touch, or after 60 s. It succeeds if the robot comes within 0.3 m of the cup, has
passed all boxes on the named side and touched nothing. Shares have their 95 % intervals.

With --episodes, without any ROS: how near does it come to what was commanded on recorded drives? Its error (MAE) by
axis and by task, beside that of the best constants, and how often it goes the recorded way where one was commanded
above 0.05 m/s or rad/s. What is no better than a constant has learnt nothing; what is better may still drive badly.
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

from simple_clip_lstm_ros.cli.infer import warn_of
from simple_clip_lstm_ros.cli.options import (
    CHECKPOINT,
    add_episode_options,
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

_OF_WORLDS: tuple[str, ...] = ("layouts", "first_seed", "conditions", "plot")
_OF_EPISODES: tuple[str, ...] = ("instruction", "action_scale")
_LAYOUTS = 40
_AS_TRAINED = "as trained"
_CONSTANT = "constant output, no model"
_SPEED = 0.4  # m/s, and straight on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT)
    parser.add_argument("--layouts", metavar="N", type=int, help=f"the eight tasks in turn; default: {_LAYOUTS}")
    parser.add_argument("--first-seed", metavar="N", type=int, help="of the layouts; those below are for training")
    parser.add_argument(
        "--conditions", metavar="NAME", nargs="+", help=f"some of the known, or all; default: {_AS_TRAINED}"
    )
    parser.add_argument("--plot", metavar="FILE", type=Path, help="all drives from above, as PNG, SVG or PDF")
    parser.add_argument("--episodes", metavar="DIR", type=Path, help="recorded episodes (.h5) in place of a world")
    add_episode_options(parser)
    add_policy_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> None:
    _check_options(args)
    if args.episodes:
        from simple_clip_lstm_ros.cli.evaluate import run_offline

        run_offline(args)
    else:
        _evaluate_drives(args)


def _check_options(args: argparse.Namespace) -> None:
    others, why = _OF_EPISODES, "episodes: name --episodes DIR"
    if args.episodes:
        others, why = _OF_WORLDS, "drives in worlds: leave it out, or --episodes"
    for name in others:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is of {why}")


def _evaluate_drives(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.evaluation.metrics import summarize_drives
    from simple_clip_lstm_ros.sim.layout import sample_layout
    from simple_clip_lstm_ros.sim.perturbations import FIRST_SEED
    from simple_clip_lstm_ros.sim.scenario import SCENARIOS

    require_ros()
    first = FIRST_SEED if args.first_seed is None else args.first_seed
    layouts = _LAYOUTS if args.layouts is None else args.layouts
    if layouts < 1 or first < 0:
        raise InputError("--layouts must be at least 1, and --first-seed zero or more")
    names = _conditions(args.conditions or [_AS_TRAINED])
    seeds = range(first, first + layouts)
    driven = _drive(args, [sample_layout(SCENARIOS[seed % len(SCENARIOS)], seed) for seed in seeds], names)
    scores = {name: summarize_drives(worlds) for name, worlds in driven.items()}
    if args.plot:
        from simple_clip_lstm_ros.sim.plot import plot_map

        plot_map(driven, args.plot)
    if args.json:
        print_json({"layouts": layouts, "first seed": first, "scores": {n: _plain(s) for n, s in scores.items()}})
        return
    make_console().print(_table(layouts, scores))


def _conditions(names: list[str]) -> list[str]:
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
        given = {**node_parameters(args, folder, precision=args.precision, engine=args.engine), **NODE}
        stage = stack.enter_context(NodeHarness(given, guard=GUARD, camera=None, threads=None, logs=folder))
        stage.start()
        lockstep = Lockstep(stage)
        progress = stack.enter_context(steps_progress())
        task = progress.add_task("driving", total=len(layouts) * len(names))
        driven: dict[str, list[World]] = {_CONSTANT: [_constant(layout) for layout in layouts]}
        for name in names:
            driven[name] = []
            for layout in layouts:
                driven[name].append(lockstep.drive(layout, PERTURBATIONS[name]))
                progress.advance(task)
        return driven


def _constant(layout: Layout) -> World:
    """What any number above must be compared with."""
    from simple_clip_lstm_ros.control.velocity import Velocity
    from simple_clip_lstm_ros.sim.rollouts import PERIOD
    from simple_clip_lstm_ros.sim.world import World

    world = World(layout)
    while not world.outcome.ended:
        world.command(Velocity(_SPEED))
        world.advance(PERIOD)
    return world


def _plain(found: DriveMetrics) -> dict[str, Any]:
    shares = {"success": found.success, "obeyed": found.obeyed, "contact": found.contact}
    told = {name: {**asdict(each), "share": each.value, "interval": each.interval} for name, each in shares.items()}
    return asdict(found) | told


def _table(layouts: int, scores: dict[str, DriveMetrics]) -> Table:
    table = new_table("", f"{layouts} layouts", *_COLUMNS)
    for name, found in scores.items():
        table.add_row(name, *(cell(found) for cell in _COLUMNS.values()))
    return table


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else ""


_COLUMNS: dict[str, Callable[[DriveMetrics], str]] = {
    "success": lambda found: str(found.success),
    "side obeyed": lambda found: str(found.obeyed),
    "contact": lambda found: str(found.contact),
    "time s": lambda found: _number(found.time, 1),
    "way m": lambda found: _number(found.length, 2),
    "unrest rad/s²": lambda found: f"{found.unrest:.2f}",
}


if TYPE_CHECKING:
    from simple_clip_lstm_ros.evaluation.metrics import AxisError, OfflineResult


def run_offline(args: argparse.Namespace) -> None:
    """Of `evaluate`'s arguments, where `episodes` is given."""
    from simple_clip_lstm_ros.data.dataset import format_skipped, read_dataset
    from simple_clip_lstm_ros.data.dataset_stats import find_episodes
    from simple_clip_lstm_ros.evaluation.metrics import MOVING, evaluate_offline, format_verdict

    # What the episodes lack is told before a checkpoint of gigabytes is read.
    recordings, left_out = read_dataset(find_episodes(args.episodes), args.instruction, args.action_scale)
    policy = load_with_progress(args)
    warn_of(policy)
    with steps_progress() as progress:
        task = progress.add_task("stepping", total=sum(len(each.episode) for each in recordings))
        found = evaluate_offline(policy, recordings, stepped=lambda: progress.advance(task))
    left_out |= found.unreadable
    if args.json:
        document = {"episodes": str(args.episodes), "untrained": policy.config.untrained, "moving above": MOVING}
        scenarios = {name: group.as_plain() for name, group in found.scenarios.items()}
        document |= {"total": found.total.as_plain(), "scenarios": scenarios, "left out": left_out}
        print_json(document | {"verdict": format_verdict(found.total)})
        return
    console = make_console()
    console.print(_offline_table(found))
    for line in format_skipped(left_out):
        console.print(printable(f"left out: {line}"))
    console.print(printable(format_verdict(found.total)))


def _offline_table(found: OfflineResult) -> Table:
    table = new_table("", "episodes", "axis", *_OFFLINE_COLUMNS)
    table.columns[1].justify = "left"
    for name, group in {"all": found.total, **found.scenarios}.items():
        head = f"{name}: {group.episodes}, {group.frames} frames"
        for axis, fit in {**group.axes, "all axes": group.overall}.items():
            table.add_row(head, axis, *(cell(fit) for cell in _OFFLINE_COLUMNS.values()))
            head = ""
    return table


def _format_share(value: float) -> str:
    return f"{value:.0%}" if math.isfinite(value) else ""


_OFFLINE_COLUMNS: dict[str, Callable[[AxisError], str]] = {
    "MAE": lambda fit: f"{fit.error:.3f}",
    "MAE of the mean": lambda fit: f"{fit.mean_error:.3f}",
    "MAE of the median": lambda fit: f"{fit.median_error:.3f}",
    "same direction": lambda fit: _format_share(fit.direction),
}
