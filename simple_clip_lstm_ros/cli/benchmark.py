"""Measure how fast the whole model runs here, how close that is to the machine's limit, and what accuracy it costs.

Measures the machine first, then steps the model at each requested precision and engine, in turn with a baseline and on
the same photographs. The baseline: Hugging Face's modules in float32, the text encoded for every frame. Without a
CHECKPOINT it prints the limit only: the least time that a frame of the full-size model takes on this machine.
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
    read_benchmark,
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

_MIN_ROUNDS = 8
_TEXT_TOKENS = 23  # of a typical instruction, if there is no checkpoint with tokenizers
_REFERENCE_CONFIG = "seed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_benchmark_options(parser)
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"), type=Path, help="instead: two saved files")
    add_json_option(parser)


def add_benchmark_options(parser: argparse.ArgumentParser) -> None:
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
    found = compare_documents(*map(read_benchmark, args.compare))
    if args.json:
        print_json(found)
        return
    make_console().print(comparison_table(found))
    for line in found["remarks"]:
        make_console().print(printable(line))


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < _MIN_ROUNDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames, at least {_MIN_ROUNDS}")
    return int(text)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark of add_benchmark_options' arguments and return its JSON document.

    Write it to a file as well if `args.save` is set.
    """
    if args.save:
        check_writable_file(args.save)
    document = _measure(args)
    if args.save:
        write_json(args.save, document)
    return document


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    from simple_clip_lstm_ros.benchmark.environment import collect_env, measure_peak
    from simple_clip_lstm_ros.engine.precision import resolve_device

    device = resolve_device(args.device)
    cases = _build_cases(args) if args.checkpoint else []
    with_node = args.checkpoint and not args.no_node and _has_ros()
    with log_console.status("measuring the machine"):
        peak = measure_peak(device)
    document = {
        "format": FORMAT,
        "version": __version__,
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "conditions": collect_env(device),
        "rates": peak.rates,
        "bandwidth": peak.bandwidth,
    }
    if not args.checkpoint:
        return document | {"profile": _REFERENCE_CONFIG, "limits": _reference_limits(peak)}
    results = _run_cases(cases, args.rounds)
    return document | _summarize_cases(args, peak, results) | {"node": _benchmark_node(args) if with_node else None}


def _reference_limits(peak: DevicePeak) -> dict[str, float]:
    """Return the least seconds of a full-size frame by precision."""
    from simple_clip_lstm_ros.benchmark.roofline import frame_cost, lower_bounds
    from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS

    cost = frame_cost(REFERENCE_CONFIGS[_REFERENCE_CONFIG], _TEXT_TOKENS)
    return {precision: sum(lower_bounds(cost, peak, precision).values()) for precision in peak.rates}


def _build_cases(args: argparse.Namespace) -> list[BenchmarkCase]:
    """Return the baseline (first, if any) and a case for each precision and engine.

    Raise ConfigError, DeviceError or MemoryBudgetError as a worker would, before minutes of measuring.
    """
    from simple_clip_lstm_ros.checkpoint.plan import inspect_machine
    from simple_clip_lstm_ros.policy.processor_files import find_processors

    options = {
        "processors": args.processors,
        "device": args.device,
        "overrides": overrides(args),
        "memory_budget_gb": args.memory_budget_gb,
    }
    candidates = inspect_machine(args.checkpoint, **options)
    executions = list(product(dict.fromkeys(args.precision), dict.fromkeys(args.engine)))
    for execution in executions:
        candidates.choose(*execution)
    cases = [BenchmarkCase(_case_name(*execution), args.checkpoint, options, *execution) for execution in executions]
    if args.baseline and not args.processors:
        # A bundle contains processors; the .pth that it was converted from may have none.
        options = options | {"processors": find_processors(candidates.spec.info.path)}
    source = args.baseline or args.checkpoint
    if args.no_baseline or not _fits_baseline(inspect_machine(source, **options) if args.baseline else candidates):
        return cases
    return [BenchmarkCase(BASELINE, source, options, "fp32", "eager", disable_text_cache=True), *cases]


def _fits_baseline(candidates: LoadCandidates) -> bool:
    """Return whether the baseline fits into memory; log a warning if not. Raise ConfigError for int8 weights."""
    info = candidates.spec.info
    if info.precision == "int8":
        raise ConfigError(
            f"{info.path} is int8, and the baseline float32: name what it was converted from by --baseline, or "
            "take --no-baseline"
        )
    try:
        candidates.choose("fp32", "eager")
    except MemoryBudgetError as error:
        logger.warning("there is no baseline, and so neither ratio nor error: %s", error)
        return False
    return True


def _has_ros() -> bool:
    reason = missing_ros()
    if reason:
        logger.warning("the node will not be measured: %s", reason)
    return not reason


def _case_name(*words: str) -> str:
    return " ".join(word for word in words if word != "auto") or "auto"


def _run_cases(cases: Sequence[BenchmarkCase], rounds: int) -> dict[str, CaseResult]:
    from simple_clip_lstm_ros.policy.sample_images import sample_crops

    with steps_progress() as progress:
        task = progress.add_task(f"loading {', '.join(case.name for case in cases)}", total=rounds * len(cases))
        stepped = lambda: progress.update(task, advance=1, description="stepping in turn")  # noqa: E731
        return run_interleaved(cases, list(sample_crops(rounds)), stepped)


def _summarize_cases(args: argparse.Namespace, peak: DevicePeak, results: dict[str, CaseResult]) -> dict[str, Any]:
    from simple_clip_lstm_ros.benchmark.result import summarize, to_plain
    from simple_clip_lstm_ros.benchmark.roofline import frame_cost, lower_bounds

    baseline = results.get(BASELINE)
    configs = {}
    for name, result in results.items():
        worker = result.info
        cost = frame_cost(worker.config, worker.text_tokens)
        limits = lower_bounds(cost, peak, worker.execution.precision.name)
        summary = summarize(result.profiles, limits, worker.config.action_axes, baseline.profiles if baseline else None)
        configs[name] = {
            "precision": worker.execution.precision.name,
            "engine": worker.execution.engine.name,
            "device": worker.device,
            "load": worker.load,
            "resident": worker.memory.process.resident,
            "anonymous": worker.memory.process.anonymous,
            "peak": worker.memory.process.peak,
            "gpu": worker.memory.cuda.reserved if worker.memory.cuda else None,
            **to_plain(summary),
            "seconds": [lap.seconds for lap in result.profiles],
        }
    first = next(iter(results.values())).info
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
        "ways": configs,
    }


def _benchmark_node(args: argparse.Namespace) -> dict[str, Any] | None:
    """Measure the node at the first precision and engine.

    Return None if that fails, so that the earlier measurements are kept.
    """
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
