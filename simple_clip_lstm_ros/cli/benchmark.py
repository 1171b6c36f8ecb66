"""How fast is the whole model here, how near is that to what the machine can do, and what accuracy does it cost?

Measures the machine first, then steps the model at each precision and engine asked for, in turn with a baseline and on
the same photographs. The baseline: Hugging Face's modules in float32, the text encoded for every frame. Without a
CHECKPOINT it tells the limit alone: how long a frame of the full-size model takes here at least.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from simple_clip_lstm_ros.cli.benchmark_tables import BASELINE, comparison_table, limits_table, print_tables
from simple_clip_lstm_ros.cli.node_benchmark import drive, what_lacks
from simple_clip_lstm_ros.cli.options import (
    add_config_options,
    add_device_options,
    add_json_option,
    log_console,
    overrides,
    print_json,
    steps_progress,
    surveyed,
    tables,
)
from simple_clip_lstm_ros.cli.race import Entry, Run, race
from simple_clip_lstm_ros.errors import InputError, MemoryBudgetError, first_line
from simple_clip_lstm_ros.plain import finite

if TYPE_CHECKING:
    from simple_clip_lstm_ros.engine.machine import Machine

logger = logging.getLogger(__name__)

_LEAST_ROUNDS = 8
_TEXT_TOKENS = 23  # of a sentence, where there is no checkpoint with its tokenizers
_PROFILE = "seed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help="a .pth checkpoint or a bundle")
    parser.add_argument(
        "--precision", nargs="+", default=["auto"], metavar="NAME", help="some of auto, fp32, bf16, fp16, int8"
    )
    parser.add_argument("--engine", nargs="+", default=["auto"], metavar="NAME", help="some of auto, packed, eager")
    parser.add_argument("--rounds", metavar="N", type=_rounds, default=32, help="frames; default: %(default)s")
    parser.add_argument(
        "--no-baseline", action="store_true", help="without the baseline, and so without ratio and error"
    )
    parser.add_argument("--no-node", action="store_true", help="without the node, where there is a ROS 2")
    parser.add_argument("--save", metavar="FILE", type=Path, help="write the JSON document to a file as well")
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"), type=Path, help="instead: two such files")
    add_device_options(parser)
    add_config_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> None:
    if args.compare:
        tables().print(_compared(*args.compare))
        return
    document = measure(args)
    if args.json:
        print_json(document)
    elif args.checkpoint:
        print_tables(document)
    else:
        tables().print(limits_table(document))
    if args.save:
        try:
            args.save.write_text(json.dumps(finite(document), indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise InputError(f"{args.save} cannot be written: {error.strerror}") from None


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < _LEAST_ROUNDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames, at least {_LEAST_ROUNDS}")
    return int(text)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The document, of add_arguments' arguments."""
    from simple_clip_lstm_ros.engine import machine as machines
    from simple_clip_lstm_ros.engine.conditions import read_conditions
    from simple_clip_lstm_ros.engine.precision import resolve_device

    device = resolve_device(args.device)
    if args.checkpoint:
        _refuse_early(args)
    with log_console.status("measuring the machine"):
        machine = machines.measure(device)
    document = {"conditions": read_conditions(device), "rates": machine.rates, "bandwidth": machine.bandwidth}
    if not args.checkpoint:
        return document | {"profile": _PROFILE, "limits": _limits_of_profile(machine)}
    return document | _scores(args, machine, _race(args)) | {"node": None if args.no_node else _node(args)}


def _ways(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Names of precision and engine."""
    return list(product(dict.fromkeys(args.precision), dict.fromkeys(args.engine)))


def _refuse_early(args: argparse.Namespace) -> None:
    """What a runner would raise, before minutes of measuring the machine and the others."""
    found = surveyed(args)
    for precision, engine in _ways(args):
        found.choose(precision, engine)


def _limits_of_profile(machine: Machine) -> dict[str, float]:
    from simple_clip_lstm_ros.checkpoint.profiles import PROFILES
    from simple_clip_lstm_ros.engine.work import frame_work, limits

    work = frame_work(PROFILES[_PROFILE], _TEXT_TOKENS)
    return {precision: sum(limits(work, machine, precision).values()) for precision in machine.rates}


def _race(args: argparse.Namespace) -> dict[str, Run]:
    """Of all precisions and engines, and the baseline; without it, and saying so, where memory does not hold it."""
    given = {
        "processors": args.processors,
        "device": args.device,
        "overrides": overrides(args),
        "memory_budget_gb": args.memory_budget_gb,
    }
    entries = [Entry(_named(*way), args.checkpoint, given, *way) for way in _ways(args)]
    if args.no_baseline:
        return _all_laps(entries, args.rounds)
    baseline = Entry(BASELINE, args.checkpoint, given, "fp32", "eager", plain=True)
    try:
        return _all_laps([baseline, *entries], args.rounds)
    except MemoryBudgetError as error:
        logger.warning("there is no baseline, and so neither ratio nor error: %s", error)
        return _all_laps(entries, args.rounds)


def _named(*words: str) -> str:
    return " ".join(word for word in words if word != "auto") or "auto"


def _all_laps(entries: Sequence[Entry], rounds: int) -> dict[str, Run]:
    from simple_clip_lstm_ros.policy.photographs import crops

    with steps_progress() as progress:
        task = progress.add_task(f"loading {', '.join(entry.name for entry in entries)}", total=rounds * len(entries))
        stepped = lambda: progress.update(task, advance=1, description="stepping in turn")  # noqa: E731
        return race(entries, list(crops(rounds)), stepped)


def _scores(args: argparse.Namespace, machine: Machine, runs: dict[str, Run]) -> dict[str, Any]:
    from simple_clip_lstm_ros.engine.score import as_plain, score
    from simple_clip_lstm_ros.engine.work import frame_work, limits

    baseline = runs.get(BASELINE)
    ways = {}
    for name, run in runs.items():
        ready = run.ready
        work = frame_work(ready.config, ready.text_tokens)
        least = limits(work, machine, ready.way.precision.name)
        found = score(run.laps, least, ready.config.action_axes, baseline.laps if baseline else None)
        ways[name] = {
            "precision": ready.way.precision.name,
            "engine": ready.way.engine.name,
            "device": ready.device,
            "load": ready.load,
            "resident": ready.cost.resident,
            "anonymous": ready.cost.anonymous,
            **as_plain(found),
            "seconds": [lap.seconds for lap in run.laps],
        }
    first = next(iter(runs.values())).ready
    return {
        "checkpoint": args.checkpoint,
        "parameters": first.parameters,
        "instruction tokens": first.text_tokens,
        "untrained": first.config.untrained,
        "cut": first.config.reductions,
        "rounds": args.rounds,
        "ways": ways,
    }


def _node(args: argparse.Namespace) -> dict[str, Any] | None:
    """None where there is no ROS 2."""
    if lacking := what_lacks():
        logger.warning("the node is not measured: %s", lacking)
        return None
    settings = {"checkpoint": Path(args.checkpoint).absolute(), "device": args.device, "precision": args.precision[0]}
    settings["engine"] = args.engine[0]
    if args.processors:
        settings["processors"] = Path(args.processors).absolute()
    with steps_progress() as progress:
        task = progress.add_task("driving the node", total=2 * args.rounds)
        return drive(settings, overrides(args), args.rounds, lambda: progress.advance(task))


def _compared(*paths: Path) -> Table:
    documents = []
    for path in paths:
        try:
            documents.append(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {first_line(error)}") from None
    try:
        return comparison_table(*documents)
    except (KeyError, TypeError, AttributeError):
        told = " or ".join(map(str, paths))
        raise InputError(f"{told} is not what `benchmark CHECKPOINT --save` writes") from None
