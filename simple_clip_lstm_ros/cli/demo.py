"""The whole way on this machine, without a robot: camera, node, velocities, live.

A tiny checkpoint with random weights is written, a camera drives over photographs, a real inference node runs. First
without an instruction, so it commands zero and says why; then with one. Topics are in the namespace /demo.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from simple_clip_lstm_ros.errors import SimpleClipLstmError

if TYPE_CHECKING:
    from simple_clip_lstm_ros.node.stage import Stage

_WITHOUT = 3.5  # s without an instruction
_WITH = 5.0  # s with it
_REFRESH = 0.25  # s


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--forever", action="store_true", help="run on until Ctrl-C")
    parser.add_argument("--instruction", metavar="TEXT", default="go to the cup", help="default: %(default)s")


def run(args: argparse.Namespace) -> None:
    try:
        from simple_clip_lstm_ros.node.stage import Stage
    except ImportError as error:
        raise SimpleClipLstmError(
            f"ROS 2 is missing here ({error}): source one (. /opt/ros/<distro>/setup.bash), or use `make demo` on "
            "x86-64 Linux, which installs it from pip"
        ) from None
    from simple_clip_lstm_ros.checkpoint.synth import synthesise

    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "tiny.pth"
        console.print(
            "Writing a tiny checkpoint (random weights), starting camera and inference node ...", soft_wrap=True
        )
        synthesise("tiny", checkpoint)
        parameters = {"checkpoint": checkpoint, "allow_untrained": "true", "device": "cpu"}
        # One thread is enough for a tiny model; two would fight over the cores with all else that runs here.
        with Stage(parameters, threads=1, logs=Path(folder)) as stage:
            stage.start()
            _show(console, stage, _acts(stage, args))
            _conclude(console, stage)


def _acts(stage: Stage, args: argparse.Namespace) -> Iterator[str]:
    """What is happening, once every refresh; the instruction is given on the way."""
    begin = time.monotonic()
    while time.monotonic() - begin < _WITHOUT:
        yield "no instruction yet: the command is zero"
    stage.instruct(args.instruction)
    while args.forever or time.monotonic() - begin < _WITHOUT + _WITH:
        yield f'instruction: "{args.instruction}"'


def _show(console: Console, stage: Stage, acts: Iterator[str]) -> None:
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for act in acts:
                stage.watch(_REFRESH)
                live.update(_table(act, _row(stage)), refresh=True)
        return
    # In a pipe or a log: one line a second.
    for index, act in enumerate(acts):
        stage.watch(_REFRESH)
        if index % round(1.0 / _REFRESH) == 0:
            values = "  ".join(f"{name} {value}" for name, value in _row(stage).items())
            console.print(f"{act} | {values}", soft_wrap=True, highlight=False)


def _table(title: str, row: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, min_width=72)
    for name, value in row.items():
        table.add_row(name, value)
    return table


def _row(stage: Stage) -> dict[str, str]:
    age = stage.image_age()
    action, command = stage.action, stage.command
    return {
        "image age": f"{age * 1e3:.0f} ms" if age is not None else "no image",
        "action": _velocity(action.twist) if action else "none",
        "command": _velocity(command) if command else "none",
        "reason": stage.reason,
        "rate": f"commands {stage.rate('command'):.1f} Hz, inference {stage.rate('action'):.1f} Hz",
        "latency": f"{float(stage.latency) * 1e3:.0f} ms" if stage.latency else "none",
    }


def _velocity(twist: object) -> str:
    return f"{twist.linear.x:+.3f} m/s, {twist.angular.z:+.3f} rad/s"  # type: ignore[attr-defined]


def _conclude(console: Console, stage: Stage) -> None:
    if not stage.reason.startswith("MOVING"):
        raise SimpleClipLstmError(f"the robot did not move on the instruction: {stage.reason}")
    console.print(
        "A robot on /demo/cmd_vel would be moving now. For your checkpoint and camera, see the README.", soft_wrap=True
    )
