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
from simple_clip_lstm_ros.benchmark.interleaved import BenchmarkCase, CaseResult, run_interleaved
from simple_clip_lstm_ros.cli.benchmark_tables import (
    BASELINE,
    FORMAT,
    check_writable_file,
    compare_documents,
    comparison_table,
    limits_table,
    print_tables,
    read_document,
)
from simple_clip_lstm_ros.cli.options import (
    CHECKPOINT,
    add_config_options,
    add_device_options,
    add_json_option,
    log_console,
    overrides,
    print_json,
    steps_progress,
)
from simple_clip_lstm_ros.cli.ros import benchmark_node, missing_ros, node_parameters
from simple_clip_lstm_ros.cli.tables import make_console
from simple_clip_lstm_ros.errors import ConfigError, MemoryBudgetError, SimpleClipLstmError, printable
from simple_clip_lstm_ros.json_utils import write_json

if TYPE_CHECKING:
    from simple_clip_lstm_ros.benchmark.environment import DevicePeak
    from simple_clip_lstm_ros.checkpoint.plan import LoadCandidates

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
        make_console().print(limits_table(document))


def _show_comparison(args: argparse.Namespace) -> None:
    found = compare_documents(*map(read_document, args.compare))
    if args.json:
        print_json(found)
        return
    make_console().print(comparison_table(found))
    for line in found["remarks"]:
        make_console().print(printable(line))


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < _LEAST_ROUNDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames, at least {_LEAST_ROUNDS}")
    return int(text)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The document, of add_measuring_options' arguments, which may have it saved."""
    if args.save:
        check_writable_file(args.save)
    document = _measured(args)
    if args.save:
        write_json(args.save, document)
    return document


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    from simple_clip_lstm_ros.benchmark import environment as machines
    from simple_clip_lstm_ros.benchmark.environment import collect_env
    from simple_clip_lstm_ros.engine.precision import resolve_device

    device = resolve_device(args.device)
    entries = _build_cases(args) if args.checkpoint else []
    with_node = args.checkpoint and not args.no_node and _finds_ros()
    with log_console.status("measuring the machine"):
        machine = machines.measure_peak(device)
    document = {
        "format": FORMAT,
        "version": __version__,
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "conditions": collect_env(device),
        "rates": machine.rates,
        "bandwidth": machine.bandwidth,
    }
    if not args.checkpoint:
        return document | {"profile": _PROFILE, "limits": _limits_of_profile(machine)}
    runs = _run_cases(entries, args.rounds)
    return document | _summarize_cases(args, machine, runs) | {"node": _node(args) if with_node else None}


def _limits_of_profile(machine: DevicePeak) -> dict[str, float]:
    from simple_clip_lstm_ros.benchmark.roofline import frame_cost, lower_bounds
    from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS

    work = frame_cost(REFERENCE_CONFIGS[_PROFILE], _TEXT_TOKENS)
    return {precision: sum(lower_bounds(work, machine, precision).values()) for precision in machine.rates}


def _build_cases(args: argparse.Namespace) -> list[BenchmarkCase]:
    """The baseline, and each precision and engine. Raises what a runner would, before minutes of measuring."""
    from simple_clip_lstm_ros.checkpoint.plan import inspect_machine
    from simple_clip_lstm_ros.policy.processor_files import find_processors

    given = {
        "processors": args.processors,
        "device": args.device,
        "overrides": overrides(args),
        "memory_budget_gb": args.memory_budget_gb,
    }
    found = inspect_machine(args.checkpoint, **given)
    ways = list(product(dict.fromkeys(args.precision), dict.fromkeys(args.engine)))
    for execution in ways:
        found.choose(*execution)
    entries = [BenchmarkCase(_case_name(*execution), args.checkpoint, given, *execution) for execution in ways]
    if args.baseline and not args.processors:
        # A bundle has its own; beside what it was converted from there may be none.
        given = given | {"processors": find_processors(found.spec.info.path)}
    source = args.baseline or args.checkpoint
    if args.no_baseline or not _holds_baseline(inspect_machine(source, **given) if args.baseline else found):
        return entries
    return [BenchmarkCase(BASELINE, source, given, "fp32", "eager", disable_text_cache=True), *entries]


def _holds_baseline(found: LoadCandidates) -> bool:
    """Whether there is memory for it; says so where there is not. Raises ConfigError for weights of int8."""
    info = found.spec.info
    if info.precision == "int8":
        raise ConfigError(
            f"{info.path} is int8, and the baseline float32: name what it was converted from by --baseline, or "
            "take --no-baseline"
        )
    try:
        found.choose("fp32", "eager")
    except MemoryBudgetError as error:
        logger.warning("there is no baseline, and so neither ratio nor error: %s", error)
        return False
    return True


def _finds_ros() -> bool:
    lacking = missing_ros()
    if lacking:
        logger.warning("the node will not be measured: %s", lacking)
    return not lacking


def _case_name(*words: str) -> str:
    return " ".join(word for word in words if word != "auto") or "auto"


def _run_cases(entries: Sequence[BenchmarkCase], rounds: int) -> dict[str, CaseResult]:
    from simple_clip_lstm_ros.policy.sample_images import sample_crops

    with steps_progress() as progress:
        task = progress.add_task(f"loading {', '.join(entry.name for entry in entries)}", total=rounds * len(entries))
        stepped = lambda: progress.update(task, advance=1, info="stepping in turn")  # noqa: E731
        return run_interleaved(entries, list(sample_crops(rounds)), stepped)


def _summarize_cases(args: argparse.Namespace, machine: DevicePeak, runs: dict[str, CaseResult]) -> dict[str, Any]:
    from simple_clip_lstm_ros.benchmark.result import summarize, to_plain
    from simple_clip_lstm_ros.benchmark.roofline import frame_cost, lower_bounds

    baseline = runs.get(BASELINE)
    ways = {}
    for name, run in runs.items():
        ready = run.info
        work = frame_cost(ready.config, ready.text_tokens)
        least = lower_bounds(work, machine, ready.execution.precision.name)
        found = summarize(run.profiles, least, ready.config.action_axes, baseline.profiles if baseline else None)
        ways[name] = {
            "precision": ready.execution.precision.name,
            "engine": ready.execution.engine.name,
            "device": ready.device,
            "load": ready.load,
            "resident": ready.memory.process.resident,
            "anonymous": ready.memory.process.anonymous,
            "peak": ready.memory.process.peak,
            "gpu": ready.memory.cuda.reserved if ready.memory.cuda else None,
            **to_plain(found),
            "seconds": [lap.seconds for lap in run.profiles],
        }
    first = next(iter(runs.values())).info
    return {
        "checkpoint": args.checkpoint,
        "parameters": first.parameters,
        "instruction tokens": first.text_tokens,
        "untrained": first.config.untrained,
        "cut": first.config.reductions,
        "config": first.config.to_dict(),
        "baseline": {"checkpoint": args.baseline or args.checkpoint, "stored": baseline.info.stored}
        if baseline
        else None,
        "rounds": args.rounds,
        "ways": ways,
    }


def _node(args: argparse.Namespace) -> dict[str, Any] | None:
    """At the first precision and engine. None where it fails: what was measured before is not to be lost with it."""
    execution = {"precision": args.precision[0], "engine": args.engine[0]}
    try:
        with tempfile.TemporaryDirectory() as folder, steps_progress() as progress:
            task = progress.add_task("driving the node", total=2 * args.rounds)
            parameters = node_parameters(args, Path(folder), **execution)
            drives = benchmark_node(parameters, args.rounds, Path(folder), lambda: progress.advance(task))
    except SimpleClipLstmError as error:
        logger.warning("the node is not measured: %s", error)
        return None
    return {"way": _case_name(*execution.values()), "drives": drives}
