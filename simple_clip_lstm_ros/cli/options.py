"""The options that several verbs share, and what they mean."""

from __future__ import annotations

import argparse
import json
import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from simple_clip_lstm_ros.checkpoint.overrides import read_overrides

if TYPE_CHECKING:
    from simple_clip_lstm_ros.policy.policy import Policy

log_console = Console(stderr=True)


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--processors", metavar="DIR", help="Kosmos-2 and CLIP processors; default: beside the checkpoint"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16 for the encoders")
    add_config_option(parser)


def add_config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="YAML", type=Path, help="PolicyConfig settings that win over the file's")


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def print_json(document: Any) -> None:
    """One document on stdout, with null for the numbers that JSON has no word for."""
    print(json.dumps(_finite(document), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tables() -> Console:
    """On stdout, for tables and text of anybody's choosing; wide where that is no terminal."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 160
    return console


def load_with_progress(args: argparse.Namespace) -> Policy:
    from simple_clip_lstm_ros.checkpoint.load import load_policy

    with bytes_progress() as progress:
        task = progress.add_task("loading", total=None)
        return load_policy(
            args.checkpoint,
            processors=args.processors,
            device=args.device,
            precision=args.precision,
            config=read_overrides(args.config),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def bytes_progress() -> AbstractContextManager[Progress]:
    """A bar with rate and remaining time on stderr; silent where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    shown = log_console.is_terminal
    return Progress(*columns, TimeRemainingColumn(), console=log_console, transient=True, disable=not shown)
