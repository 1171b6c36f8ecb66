"""Convert a checkpoint to a bundle: a folder with weights, config and tokenizers that a robot loads fast.

It converts tensor by tensor, in little memory, and leaves no partial bundle. Loading a bundle at its own precision
reads no weights in advance.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from simple_clip_lstm_ros.cli.options import (
    CHECKPOINT,
    add_config_options,
    add_json_option,
    bytes_progress,
    overrides,
    print_json,
    steps_progress,
)

if TYPE_CHECKING:
    from simple_clip_lstm_ros.engine.output_error import OutputTrace

_BYTES_PER_UNIT = {"": 1e9, "GB": 1e9, "MB": 1e6}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", type=Path, help=CHECKPOINT)
    parser.add_argument("destination", metavar="DST", type=Path, help="the folder to make")
    parser.add_argument(
        "--processors", metavar="DIR", help="Kosmos-2 and CLIP processors; default: inside or next to the checkpoint"
    )
    parser.add_argument("--precision", default="", help="fp32, bf16, fp16 or int8, of the encoders; default: as it is")
    parser.add_argument(
        "--shard-size",
        metavar="SIZE",
        type=_parse_size,
        default="5GB",
        help="most bytes in a file; default: %(default)s",
    )
    add_config_options(parser)
    add_json_option(parser)
    parser.add_argument(
        "--verify",
        metavar="FRAMES",
        type=_frame_count,
        nargs="?",
        const=8,
        help="then step both on the same photographs (default: 8) and print how far their actions are apart",
    )


def run(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.checkpoint.convert import convert

    settings = overrides(args)
    with bytes_progress() as progress:
        convert(
            args.source,
            args.destination,
            processors=args.processors,
            precision=args.precision,
            config=settings,
            shard_bytes=args.shard_size,
            report=_ProgressReport(progress),
        )
    size = sum(file.stat().st_size for file in args.destination.rglob("*") if file.is_file())
    document: dict[str, Any] = {"bundle": str(args.destination), "bytes": size}
    if not args.json:
        print(f"{args.destination}: {size / 1e9:.3f} GB", flush=True)
    if args.verify:
        document |= {"frames": args.verify} | _verify(args, settings)
    if args.json:
        print_json(document)


class _ProgressReport:
    """A callback that shows a progress bar for each part of the work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done)


def _verify(args: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    from simple_clip_lstm_ros.engine.output_error import compare_outputs

    source_precision, reference = _trace(args.source, args, settings, "fp32")
    bundle_precision, other = _trace(args.destination, args, {}, "")
    errors = compare_outputs(reference, other)
    if not args.json:
        compared = f"the bundle in {bundle_precision} against the source in {source_precision}"
        print(f"over {args.verify} photographs, the hidden state carried, {compared}:")
        for name, error in errors.features.items():
            print(f"  feature {name}: {error:.2%}")
        for axis, error in errors.actions.items():
            text = f"RMS error {error:.2%} of its standard deviation" if isfinite(error) else "constant in the source"
            print(f"  action {axis}: {text}")
        print(f"  largest difference of an action: {errors.largest:.2e}")
    return {"source precision": source_precision, "bundle precision": bundle_precision, **asdict(errors)}


def _trace(path: Path, args: argparse.Namespace, settings: dict[str, Any], precision: str) -> tuple[str, OutputTrace]:
    """Step the model at `path` and return its precision and outputs.

    With precision "" it runs at the stored one; float16 runs as float32 on a CPU, which keeps the values.
    """
    from simple_clip_lstm_ros.checkpoint.load import load
    from simple_clip_lstm_ros.checkpoint.plan import inspect_machine
    from simple_clip_lstm_ros.engine.output_error import trace_outputs
    from simple_clip_lstm_ros.policy.sample_images import sample_crops

    candidates = inspect_machine(path, args.processors if path == args.source else None, "auto", settings, 0.0)
    stored = candidates.spec.info.precision
    own = "fp32" if stored == "fp16" and candidates.device.type == "cpu" else stored
    policy = load(candidates.choose(own if stored == "int8" or not precision else precision, "eager"))
    with steps_progress() as progress:
        task = progress.add_task(f"stepping {path.name}", total=args.verify)
        return policy.precision, trace_outputs(
            policy, sample_crops(args.verify), stepped=lambda: progress.advance(task)
        )


def _parse_size(text: str) -> int:
    match = re.fullmatch(r"([0-9.]+) *(GB|MB|)", text.strip(), re.IGNORECASE)
    is_number = match and match[1].count(".") < 2 and match[1] != "."
    size = float(match[1]) * _BYTES_PER_UNIT[match[2].upper()] if match and is_number else 0.0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 5GB or 500MB")
    return int(size)


def _frame_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames, at least 2")
    return int(text)
