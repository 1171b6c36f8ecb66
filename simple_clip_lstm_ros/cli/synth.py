"""Write a checkpoint with random weights in the format of a training run: for demonstrations, tests and benchmarks.

The file is marked `untrained: true`; a robot does not move with it unless allow_untrained is set.
"""

from __future__ import annotations

import argparse

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from simple_clip_lstm_ros.cli.options import if_terminal, log_console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="the .pth to write; OUT.processors/ beside it for the tiny profile")
    parser.add_argument(
        "--profile", required=True, choices=("seed", "published", "tiny"), help="seed and published: 7.4 GB; tiny: 5 MB"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")


def run(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.checkpoint.random_checkpoint import write_random_checkpoint

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with if_terminal(Progress(*columns, console=log_console)) as progress:
        tasks: dict[str, int] = {}

        def report(what: str, done: int, total: int) -> None:
            unit = 1_000_000 if total > 1_000_000 else 1
            if what not in tasks:
                tasks[what] = progress.add_task(what + (" (MB)" if unit > 1 else ""), total=total // unit)
            progress.update(tasks[what], completed=done // unit)  # type: ignore[arg-type]

        write_random_checkpoint(args.profile, args.out, seed=args.seed, report=report)
    print(f"{args.out}: {args.profile} profile, untrained (random weights)")
