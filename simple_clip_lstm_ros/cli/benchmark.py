"""How fast is the whole model here, how near is that to what the machine can do, and what accuracy does it cost?

Measures the machine first, then steps the model at each precision and engine asked for, in turn with a baseline and on
the same photographs. The baseline: Hugging Face's modules in float32, the text encoded for every frame. Without a
CHECKPOINT it tells the limit alone: how long a frame of the full-size model takes here at least.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_clip_lstm_ros import __version__
from simple_clip_lstm_ros.cli.benchmark_file import FORMAT, read_document, refuse_unwritable
from simple_clip_lstm_ros.cli.benchmark_tables import BASELINE, limits_table, print_tables
from simple_clip_lstm_ros.cli.comparison import compare, comparison_table
from simple_clip_lstm_ros.cli.node_benchmark import drive
from simple_clip_lstm_ros.cli.options import (
    CHECKPOINT,
    add_config_options,
    add_device_options,
    add_json_option,
    log_console,
    overrides,
    print_json,
    steps_progress,
    tables,
)
from simple_clip_lstm_ros.cli.race import Entry, Run, race
from simple_clip_lstm_ros.cli.ros import node_parameters, what_lacks
from simple_clip_lstm_ros.errors import ConfigError, MemoryBudgetError, SimpleClipLstmError, printable
from simple_clip_lstm_ros.plain import write_json

if TYPE_CHECKING:
    from simple_clip_lstm_ros.checkpoint.plan import Survey
    from simple_clip_lstm_ros.engine.machine import Machine

logger = logging.getLogger(__name__)

_LEAST_ROUNDS = 8
_TEXT_TOKENS = 23  # of a sentence, where there is no checkpoint with its tokenizers
_PROFILE = "seed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_measuring_options(parser)
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"), type=Path, help="instead: two saved files")
    add_json_option(parser)


def add_measuring_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help=CHECKPOINT)
    parser.add_argument(
        "--precision", nargs="+", default=["auto"], metavar="NAME", help="some of auto, fp32, bf16, fp16, int8"
    )
    parser.add_argument("--engine", nargs="+", default=["auto"], metavar="NAME", help="some of auto, packed, eager")
    parser.add_argument("--rounds", metavar="N", type=_rounds, default=32, help="frames; default: %(default)s")
    parser.add_argument(
        "--no-baseline", action="store_true", help="without the baseline, and so without ratio and error"
    )
    parser.add_argument(
        "--baseline", metavar="FILE", help="the baseline's checkpoint, where CHECKPOINT was converted from it"
    )
    parser.add_argument("--no-node", action="store_true", help="without the node, where there is a ROS 2")
    parser.add_argument("--save", metavar="FILE", type=Path, help="write the JSON document to a file as well")
    add_device_options(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    if args.compare:
        _show_comparison(args)
        return
    document = measure(args)
    if args.json:
        print_json(document)
    elif args.checkpoint:
        print_tables(document)
    else:
        tables().print(limits_table(document))


def _show_comparison(args: argparse.Namespace) -> None:
    found = compare(*map(read_document, args.compare))
    if args.json:
        print_json(found)
        return
    tables().print(comparison_table(found))
    for line in found["remarks"]:
        tables().print(printable(line))


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < _LEAST_ROUNDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames, at least {_LEAST_ROUNDS}")
    return int(text)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The document, of add_measuring_options' arguments, which may have it saved."""
    if args.save:
        refuse_unwritable(args.save)
    document = _measured(args)
    if args.save:
        write_json(args.save, document)
    return document


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    from simple_clip_lstm_ros.engine import machine as machines
    from simple_clip_lstm_ros.engine.conditions import read_conditions
    from simple_clip_lstm_ros.engine.precision import resolve_device

    device = resolve_device(args.device)
    entries = _entries(args) if args.checkpoint else []
    with_node = args.checkpoint and not args.no_node and _finds_ros()
    with log_console.status("measuring the machine"):
        machine = machines.measure(device)
    document = {
        "format": FORMAT,
        "version": __version__,
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "conditions": read_conditions(device),
        "rates": machine.rates,
        "bandwidth": machine.bandwidth,
    }
    if not args.checkpoint:
        return document | {"profile": _PROFILE, "limits": _limits_of_profile(machine)}
    runs = _race(entries, args.rounds)
    return document | _scores(args, machine, runs) | {"node": _node(args) if with_node else None}


def _limits_of_profile(machine: Machine) -> dict[str, float]:
    from simple_clip_lstm_ros.checkpoint.profiles import PROFILES
    from simple_clip_lstm_ros.engine.work import frame_work, limits

    work = frame_work(PROFILES[_PROFILE], _TEXT_TOKENS)
    return {precision: sum(limits(work, machine, precision).values()) for precision in machine.rates}


def _entries(args: argparse.Namespace) -> list[Entry]:
    """The baseline, and each precision and engine. Raises what a runner would, before minutes of measuring."""
    from simple_clip_lstm_ros.checkpoint.plan import survey
    from simple_clip_lstm_ros.policy.processor_files import find_processors

    given = {
        "processors": args.processors,
        "device": args.device,
        "overrides": overrides(args),
        "memory_budget_gb": args.memory_budget_gb,
    }
    found = survey(args.checkpoint, **given)
    ways = list(product(dict.fromkeys(args.precision), dict.fromkeys(args.engine)))
    for way in ways:
        found.choose(*way)
    entries = [Entry(_named(*way), args.checkpoint, given, *way) for way in ways]
    if args.baseline and not args.processors:
        # A bundle has its own; beside what it was converted from there may be none.
        given = given | {"processors": find_processors(found.blueprint.description.path)}
    source = args.baseline or args.checkpoint
    if args.no_baseline or not _holds_baseline(survey(source, **given) if args.baseline else found):
        return entries
    return [Entry(BASELINE, source, given, "fp32", "eager", plain=True), *entries]


def _holds_baseline(found: Survey) -> bool:
    """Whether there is memory for it; says so where there is not. Raises ConfigError for weights of int8."""
    description = found.blueprint.description
    if description.precision == "int8":
        raise ConfigError(
            f"{description.path} is int8, and the baseline float32: name what it was converted from by --baseline, or "
            "take --no-baseline"
        )
    try:
        found.choose("fp32", "eager")
    except MemoryBudgetError as error:
        logger.warning("there is no baseline, and so neither ratio nor error: %s", error)
        return False
    return True


def _finds_ros() -> bool:
    lacking = what_lacks()
    if lacking:
        logger.warning("the node will not be measured: %s", lacking)
    return not lacking


def _named(*words: str) -> str:
    return " ".join(word for word in words if word != "auto") or "auto"


def _race(entries: Sequence[Entry], rounds: int) -> dict[str, Run]:
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
            "resident": ready.memory.process.resident,
            "anonymous": ready.memory.process.anonymous,
            "peak": ready.memory.process.peak,
            "gpu": ready.memory.cuda.reserved if ready.memory.cuda else None,
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
        "config": first.config.to_dict(),
        "baseline": {"checkpoint": args.baseline or args.checkpoint, "stored": baseline.ready.stored}
        if baseline
        else None,
        "rounds": args.rounds,
        "ways": ways,
    }


def _node(args: argparse.Namespace) -> dict[str, Any] | None:
    """At the first precision and engine. None where it fails: what was measured before is not to be lost with it."""
    way = {"precision": args.precision[0], "engine": args.engine[0]}
    try:
        with tempfile.TemporaryDirectory() as folder, steps_progress() as progress:
            task = progress.add_task("driving the node", total=2 * args.rounds)
            parameters = node_parameters(args, Path(folder), **way)
            drives = drive(parameters, args.rounds, Path(folder), lambda: progress.advance(task))
    except SimpleClipLstmError as error:
        logger.warning("the node is not measured: %s", error)
        return None
    return {"way": _named(*way.values()), "drives": drives}
