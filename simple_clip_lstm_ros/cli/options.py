"""Options that several subcommands share, and the loading and progress bars that follow from them."""

from __future__ import annotations

import argparse
import json
import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from simple_clip_lstm_ros.checkpoint.user_input import read_overrides
from simple_clip_lstm_ros.cli.tables import estimate_table
from simple_clip_lstm_ros.json_utils import nan_to_null

if TYPE_CHECKING:
    from simple_clip_lstm_ros.checkpoint.plan import LoadCandidates
    from simple_clip_lstm_ros.policy.policy import Policy

log_console = Console(stderr=True)
CHECKPOINT = "a .pth checkpoint, a bundle, or builtin:tiny"


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    add_device_options(parser)
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16, fp16 or int8, of the encoders")
    parser.add_argument("--engine", default="auto", help="auto, packed or eager: how the encoders are computed")
    add_config_options(parser)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--processors", metavar="DIR", help="Kosmos-2 and CLIP processors; default: inside or next to the checkpoint"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--memory-budget-gb", metavar="GB", type=float, default=0.0, help="refuse to take more; 0: what the machine has"
    )


def add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="YAML", type=Path, help="PolicyConfig settings that win over the file's")
    parser.add_argument(
        "--layers",
        metavar="TOWER=N,...",
        type=_layers,
        help="a cut model: only the first N layers of kosmos_text, kosmos_vision, clip_text, clip_vision or rnn; or "
        "those listed, as kosmos_text=0+4+8",
    )
    parser.add_argument("--image-size", metavar="PIXELS", type=int, help="smaller input for the encoders")


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Return the PolicyConfig settings of the command line; options win over the file of --config."""
    options = {"layers": args.layers, "image_size": args.image_size}
    return read_overrides(args.config) | {name: value for name, value in options.items() if value is not None}


def _layers(text: str) -> dict[str, int | list[int]]:
    """Parse the value of --layers.

    `kosmos_text=6,rnn=0+1` gives {"kosmos_text": 6, "rnn": [0, 1]}; `5+` is layer 5 alone. Raise ArgumentTypeError.
    """
    layers: dict[str, int | list[int]] = {}
    for part in text.split(","):
        tower, equals, kept = part.partition("=")
        numbers = kept.split("+")
        tower = tower.strip()
        if not equals or tower in layers or not all(n.strip().isdecimal() for n in numbers if n) or not numbers[0]:
            raise argparse.ArgumentTypeError(f"{part!r} is not TOWER=N or TOWER=FIRST+SECOND+..., each tower once")
        layers[tower] = int(kept) if len(numbers) == 1 else [int(number) for number in numbers if number]
    return layers


def add_rate_option(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--rate", metavar="HZ", type=_rate, help="frames a second to take; default: every image")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.0 < rate <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of Hz, above 0 and at most 1000")
    return rate


def add_episode_label_options(parser: argparse.ArgumentParser) -> None:
    """Add options for values that an episode file may lack (see data/dataset.py)."""
    parser.add_argument("--instruction", metavar="TEXT", help="of episodes that state none, nor bear a task's name")
    add_action_scale_option(parser)


def add_action_scale_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--action-scale",
        metavar=("X", "Y", "ANGULAR"),
        nargs=3,
        type=_factor,
        help="factors to m/s, m/s and rad/s, for episodes whose actions are not in these",
    )


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not abs(factor) <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from -1000 to 1000")
    return factor


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def print_json(document: Any) -> None:
    """Print a JSON document on stdout, with null for NaN and infinity."""
    print(json.dumps(nan_to_null(document), indent=2, allow_nan=False))


def survey_from_args(args: argparse.Namespace) -> LoadCandidates:
    """Inspect the checkpoint and this machine; return the possible ways to load it.

    `args` are those of add_policy_options.
    """
    from simple_clip_lstm_ros.checkpoint.plan import inspect_machine

    return inspect_machine(args.checkpoint, args.processors, args.device, overrides(args), args.memory_budget_gb)


def load_with_progress(args: argparse.Namespace) -> Policy:
    """Load the policy, with its memory estimate and a progress bar on stderr.

    `args` are those of add_policy_options.
    """
    from simple_clip_lstm_ros.checkpoint.load import load

    plan = survey_from_args(args).choose(args.precision, args.engine)
    log_console.print(estimate_table({plan.why: plan.estimate}, plan.candidates.limit), soft_wrap=True)
    with bytes_progress() as progress:
        task = progress.add_task("loading", total=None)
        return load(plan, lambda done, total: progress.update(task, completed=done, total=total))


def steps_progress() -> AbstractContextManager[Progress]:
    """Return a progress bar of frames on stderr.

    It is silent if stderr is not a terminal, and drawn only twice a second to disturb no measurement.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return if_terminal(Progress(*columns, console=log_console, transient=True, refresh_per_second=2))


def bytes_progress() -> AbstractContextManager[Progress]:
    """Return a progress bar of bytes on stderr, with rate and remaining time.

    It is silent if stderr is not a terminal.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    progress = Progress(*columns, TimeRemainingColumn(), console=log_console, transient=True)
    return if_terminal(progress)


def if_terminal(progress: Progress) -> AbstractContextManager[Progress]:
    """Return a context manager that shows `progress` if stderr is a terminal.

    Otherwise it is never started: a disabled one prints an empty line in older versions of rich.
    """
    return progress if log_console.is_terminal else nullcontext(progress)
