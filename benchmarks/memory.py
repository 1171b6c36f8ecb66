"""Measure the memory of loading, stepping and converting, and of naive loading, each in a child process.

    python benchmarks/memory.py CHECKPOINT --processors DIR

Prints a Markdown table. `need` is the peak of anonymous memory and the resident pages of the weights' files after the
steps; `predicted` is the estimate before loading. Bundles are written to --work (default: the folder of the checkpoint)
and kept for the next run. Rows in a memory cgroup are skipped, with a message, if none can be created. --errors adds
the errors of each precision over 32 crops of photographs; --json gives the rows as one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from watch import Watched, machine, watch

_FRAMES = 3
_ERROR_FRAMES = 32
_LIMITS = {"naive": 8e9, "bundle-bf16": 4e9, "bundle-int8": 3e9}


@dataclass
class Row:
    """One row of the table; its fields are JSON keys. Memory in GB, times in s."""

    what: str
    seconds: float
    resident: float
    anonymous: float
    load: float | None = None
    load_resident: float | None = None
    step: float | None = None
    need: float | None = None
    predicted: float | None = None
    remark: str = ""

    def __str__(self) -> str:
        numbers = (self.load_resident, self.load, self.step, self.need, self.predicted)
        shown = " | ".join("" if number is None else f"{number:.2f}" for number in numbers)
        peaks = f"{self.resident:.2f} | {self.anonymous:.2f}"
        return f"| {self.what} | {self.seconds:.0f} | {peaks} | {shown} | {self.remark} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--processors", type=Path)
    parser.add_argument("--work", type=Path, help="folder for the bundles")
    parser.add_argument("--no-naive", action="store_true", help="leave the naive way out: it needs twice the file")
    parser.add_argument("--no-limits", action="store_true", help="no cgroups")
    parser.add_argument("--errors", action="store_true")
    parser.add_argument("--json", action="store_true")
    # For the child processes of this script.
    parser.add_argument("--child", choices=("naive", "load", "trace"), help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="auto", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return {"naive": _naive, "load": _load, "trace": _trace}[args.child](args)
    args.work = args.work or args.checkpoint.absolute().parent
    rows = []
    if not args.json:
        print(f"{machine()}\n")
        print("| what | s | peak RSS | peak anonymous | peak RSS of the load | load s | step s | need | predicted | |")
        print("|---|---|---|---|---|---|---|---|---|---|")
    for row in _rows(args):
        rows.append(row)
        if not args.json:
            print(row, flush=True)
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    if args.errors:
        _errors(args)


def _rows(args: argparse.Namespace) -> Iterator[Row]:
    if not args.no_naive:
        yield _row("naive: build, torch.load, load_state_dict", _child(args, "naive", args.checkpoint))
    for precision in ("fp32", "bf16", "int8"):
        yield _row(f"load and step {precision} from .pth", _child(args, "load", args.checkpoint, precision))
    for precision in ("fp32", "bf16", "int8"):
        bundle = _bundle(args, precision)
        if not bundle.exists():
            yield _row(f"convert {precision}", watch(_convert(args, precision)), f"bundle {_size(bundle):.2f} GB")
    for precision in ("fp32", "bf16", "int8"):
        yield _row(f"load and step {precision} bundle", _child(args, "load", _bundle(args, precision), precision))
    if not args.no_limits:
        yield from _rows_with_limit(args)


def _rows_with_limit(args: argparse.Namespace) -> Iterator[Row]:
    """Yield rows of processes inside memory cgroups, as in a container with that limit."""
    for what, limit in _LIMITS.items():
        if what == "naive" and args.no_naive:
            continue
        name, _, precision = what.partition("-")
        path = _bundle(args, precision) if precision else args.checkpoint
        try:
            watched = _child(args, "load" if precision else "naive", path, precision or "auto", int(limit))
        except OSError as error:
            print(f"no memory cgroup can be made here ({error}): the rows with a limit are left out", file=sys.stderr)
            return
        yield _row(f"{name} {precision}".strip() + f", limit {limit / 1e9:g} GB", watched)


def _bundle(args: argparse.Namespace, precision: str) -> Path:
    return args.work / f"{args.checkpoint.stem}-{precision}"


def _convert(args: argparse.Namespace, precision: str) -> list[object]:
    command = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main", "convert", args.checkpoint]
    processors = ["--processors", args.processors] if args.processors else []
    return [*command, _bundle(args, precision), "--precision", precision, *processors]


def _child(args: argparse.Namespace, kind: str, path: Path, precision: str = "auto", limit: int = 0) -> Watched:
    command = [sys.executable, __file__, path, "--child", kind, "--precision", precision]
    # A bundle contains its own processors.
    processors = ["--processors", args.processors] if args.processors and not path.is_dir() else []
    return watch([*command, *processors], limit=limit)


def _row(what: str, watched: Watched, remark: str = "") -> Row:
    if watched.killed:
        remark = "killed"
    elif watched.code:
        sys.exit(f"{what} failed with exit code {watched.code}")
    figures = json.loads(watched.output.splitlines()[-1]) if watched.output.startswith("{") and not watched.code else {}
    peaks = watched.peaks
    if "mapped" in figures:
        figures["need"] = peaks.anonymous / 1e9 + figures.pop("mapped")
    return Row(what, watched.seconds, peaks.resident / 1e9, peaks.anonymous / 1e9, **figures, remark=remark)


def _size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*")) / 1e9


# The child processes.


def _naive(args: argparse.Namespace) -> None:
    """Load as the training script does: build, read the whole file, copy the weights."""
    import torch

    from simple_clip_lstm_ros.checkpoint.spec import open_spec
    from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM

    config = open_spec(args.checkpoint, {}).config
    begin = time.monotonic()
    model = SimpleCLIPLSTM(config)
    model.load_state_dict(torch.load(args.checkpoint, weights_only=False)["model_state_dict"])
    print(json.dumps({"load": time.monotonic() - begin}))


def _load(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.checkpoint.load import load
    from simple_clip_lstm_ros.checkpoint.plan import inspect_machine
    from simple_clip_lstm_ros.engine.memory import read_process
    from simple_clip_lstm_ros.engine.output_error import INSTRUCTION
    from simple_clip_lstm_ros.policy.sample_images import sample_crops

    plan = inspect_machine(args.checkpoint, args.processors, "cpu", {}, 0.0).choose(args.precision, "eager")
    begin = time.monotonic()
    policy = load(plan)
    seconds, resident = time.monotonic() - begin, read_process().peak
    # The first step is a warm-up: its time includes reading the weights.
    latencies = [policy.step(frame, INSTRUCTION).latency for frame in sample_crops(_FRAMES + 1)][1:]
    weights = args.checkpoint.rglob("*") if args.checkpoint.is_dir() else [args.checkpoint]
    files = {str(path.resolve()) for path in weights}
    maps = psutil.Process().memory_maps(grouped=True)
    mapped = sum(m.rss - m.anonymous for m in maps if m.path in files)
    figures = {
        "load": seconds,
        "load_resident": resident / 1e9,
        "step": statistics.median(latencies),
        "mapped": mapped / 1e9,
    }
    print(json.dumps(figures | {"predicted": plan.estimate.total / 1e9}))


def _trace(args: argparse.Namespace) -> None:
    import numpy as np

    from simple_clip_lstm_ros.checkpoint.load import load_policy
    from simple_clip_lstm_ros.engine.output_error import trace_outputs
    from simple_clip_lstm_ros.policy.sample_images import sample_crops

    policy = load_policy(args.checkpoint, processors=args.processors, precision=args.precision, engine="eager")
    trace = trace_outputs(policy, sample_crops(_ERROR_FRAMES))
    np.savez(args.work, axes=trace.axes, actions=trace.actions, **trace.features)


def _errors(args: argparse.Namespace) -> None:
    """Print the errors of each precision against float32 from the .pth.

    Relative error of each feature; RMS error of each axis relative to its standard deviation.
    """
    import tempfile

    import numpy as np

    from simple_clip_lstm_ros.engine.output_error import OutputTrace, compare_outputs

    traces = {}
    with tempfile.TemporaryDirectory() as folder:
        sources = {"fp32 .pth": (args.checkpoint, "fp32")} | {
            p: (_bundle(args, p), p) for p in ("fp32", "bf16", "int8")
        }
        for name, (path, precision) in sources.items():
            file = Path(folder) / f"{name.replace(' ', '')}.npz"
            command = [sys.executable, __file__, path, "--child", "trace", "--precision", precision, "--work", file]
            processors = ["--processors", args.processors] if args.processors and not path.is_dir() else []
            if watch([*command, *processors]).code:
                sys.exit(f"the trace of {name} failed")
            arrays = dict(np.load(file))
            traces[name] = OutputTrace(tuple(arrays.pop("axes")), actions=arrays.pop("actions"), features=arrays)
    reference = traces.pop("fp32 .pth")
    print(f"\n| bundle | {' | '.join([*reference.features, *(f'action {axis}' for axis in reference.axes)])} |")
    print("|---" * (1 + len(reference.features) + len(reference.axes)) + "|")
    for name, trace in traces.items():
        errors = compare_outputs(reference, trace)
        cells = " | ".join(f"{error:.2%}" for error in (*errors.features.values(), *errors.actions.values()))
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
