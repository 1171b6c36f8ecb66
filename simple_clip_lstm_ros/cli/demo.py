"""Drive a simulated robot with the real node and guard on this machine, shown live.

It starts without an instruction: the command is zero, and the table says why. Then the robot gets an instruction. The
drive ends at the cup, at a contact, or after 60 s; DIR/trajectory.png shows it from above, DIR/drive.gif what the robot
saw. Topics are in the namespace /demo, and nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.cli.live_table import show_live
from simple_clip_lstm_ros.cli.options import CHECKPOINT
from simple_clip_lstm_ros.cli.ros import require_ros
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.files import write_errors_as
from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario

if TYPE_CHECKING:
    from simple_clip_lstm_ros.sim.layout import Layout

_MAX_SECONDS = 60.0  # s of a drive
_WORLD = 3  # after the first validation seed: a world in which this model can turn around half-way


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", metavar="CHECKPOINT", default="builtin:tiny", help=f"{CHECKPOINT}; default: %(default)s"
    )
    parser.add_argument("--instruction", metavar="TEXT", help="default: that of the scenario")
    parser.add_argument("--then", metavar="TEXT", help="another instruction, half-way to the box")
    names = [*map(str, SCENARIOS)]
    scenario_help = f"one of {', '.join(names)}; default: %(default)s"
    parser.add_argument("--scenario", metavar="NAME", choices=names, default="1box_hori_left", help=scenario_help)
    parser.add_argument("--seed", metavar="N", type=int, help="of the world; default: one that no training has seen")
    parser.add_argument(
        "--seconds", metavar="S", type=float, default=_MAX_SECONDS, help="end by then; at most %(default)g"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, default="demo", help="for both files; default: %(default)s")


def run(args: argparse.Namespace) -> None:
    require_ros()
    layout = _layout(args)
    checkpoint = resolve_path(args.checkpoint).absolute()
    with write_errors_as(InputError, args.out):
        args.out.mkdir(parents=True, exist_ok=True)
    console = Console(markup=False, emoji=False, highlight=False)
    with tempfile.TemporaryDirectory() as logs:
        _drive(console, args, layout, checkpoint, Path(logs))


def _layout(args: argparse.Namespace) -> Layout:
    from simple_clip_lstm_ros.sim.layout import sample_layout
    from simple_clip_lstm_ros.sim.perturbations import FIRST_SEED

    seed = FIRST_SEED + _WORLD if args.seed is None else args.seed
    if seed < 0 or not 0.0 < args.seconds <= _MAX_SECONDS:
        raise InputError(f"--seed must be zero or more, and --seconds above 0 and at most {_MAX_SECONDS:g}")
    scenario = Scenario.parse(args.scenario)
    assert scenario is not None  # argparse allows valid names only
    return sample_layout(scenario, seed)


def _drive(console: Console, args: argparse.Namespace, layout: Layout, checkpoint: Path, logs: Path) -> None:
    from simple_clip_lstm_ros.cli.demo_drive import DemoDrive
    from simple_clip_lstm_ros.cli.drive_gif import PERIOD
    from simple_clip_lstm_ros.harness.node_harness import NodeHarness
    from simple_clip_lstm_ros.sim import rollouts
    from simple_clip_lstm_ros.sim.mobile_base import DIFFERENTIAL

    console.print(f"Starting the robot, the inference node with {args.checkpoint}, the guard ...", soft_wrap=True)
    limits = {name: list(value) for name, value in asdict(DIFFERENTIAL).items()}
    node = {**limits, "checkpoint": checkpoint, "allow_untrained": "true", "device": "cpu"}
    robot = {"scenario": layout.scenario, "seed": layout.seed, "image_rate": 1.0 / rollouts.PERIOD}
    # One thread is enough for a tiny model; two would compete with the other processes for the cores.
    with NodeHarness(node, guard=limits, robot=robot, threads=1, logs=logs) as harness:
        drive = DemoDrive(harness, layout)
        harness.start()
        if drive.is_untrained():
            warning = f"The weights of {args.checkpoint} are random: the robot will move, but hardly to the cup."
            console.print(warning, soft_wrap=True)
        first = layout.scenario.instruction if args.instruction is None else args.instruction
        show_live(console, drive.steps([first] if args.then is None else [first, args.then], args.seconds), PERIOD)
    outcome = drive.write_results(args.out)
    console.print(f"The robot {outcome}. From above: {args.out / 'trajectory.png'}; ", end="", soft_wrap=True)
    console.print(f"what it saw: {args.out / 'drive.gif'}", soft_wrap=True)
