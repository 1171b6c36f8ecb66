"""Measure a full-size checkpoint: write it, inspect it, load and step it, drive with it through the real node.

    python benchmarks/full_size.py --profile seed --processors DIR /tmp/seed.pth

Each part runs in a monitored process: seconds, peak resident and peak anonymous memory. An existing checkpoint is used
unchanged. Prints a Markdown table; the weights are random, which does not change the time of a step.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from watch import Peaks, machine, watch

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.harness.node_harness import NodeHarness
from simple_clip_lstm_ros.policy.sample_images import sample_crops

_INSTRUCTION = "go to the red box on the left and stop in front of it, then turn around"
_DRIVE = 30.0  # s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--processors", type=Path, required=True)
    parser.add_argument("--profile", default="seed", choices=("seed", "published"))
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--step", metavar="PRECISION", help=argparse.SUPPRESS)  # for the child process of this script
    args = parser.parse_args()
    if args.step:
        return _step(args)
    print(f"{machine()}\n")
    print("| what | seconds | peak RSS (GB) | peak anonymous (GB) | more |\n|---|---|---|---|---|")
    cli = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main"]
    if not args.checkpoint.exists():
        _row("synth", [*cli, "synth", "--profile", args.profile, args.checkpoint], lambda _: _size(args.checkpoint))
    _row("inspect", [*cli, "inspect", args.checkpoint], lambda _: _size(args.checkpoint))
    for precision in ("fp32", "bf16"):
        script = [sys.executable, __file__, args.checkpoint, "--processors", args.processors, "--frames", args.frames]
        _row(f"load and step, {precision}", [*script, "--step", precision], _format_step)
    _drive(args)


def _size(path: Path) -> str:
    return f"file {path.stat().st_size / 1e9:.3f} GB"


def _format_step(output: str) -> str:
    figures = json.loads(output.splitlines()[-1])
    return f"load {figures['load']:.1f} s, frame p50 {figures['p50']:.2f} s, max {figures['max']:.2f} s"


def _row(what: str, command: list[object], more: Callable[[str], str]) -> None:
    """Run the command under `watch` and print one row of the table."""
    watched = watch(command)
    if watched.code:
        sys.exit(f"{what} failed with exit code {watched.code}")
    print(f"| {what} | {watched.seconds:.1f} | {watched.peaks} | {more(watched.output)} |", flush=True)


def _step(args: argparse.Namespace) -> None:
    begin = time.monotonic()
    policy = load_policy(args.checkpoint, processors=args.processors, precision=args.step)
    load = time.monotonic() - begin
    # The first frame is a warm-up: its latency includes reading the weights.
    latencies = [policy.step(frame, _INSTRUCTION).latency for frame in sample_crops(args.frames + 1)][1:]
    print(json.dumps({"load": load, "p50": statistics.median(latencies), "max": max(latencies)}))


def _drive(args: argparse.Namespace) -> None:
    """Drive with the defaults, then with the command_timeout that the node's warning recommends.

    Print a table row of the second drive, and the warnings of the first.
    """
    parameters = {
        "checkpoint": args.checkpoint,
        "processors": args.processors,
        "allow_untrained": "true",
        "device": "cpu",
    }
    warnings = _default_warnings(parameters)
    match = re.search(r"command_timeout to ([0-9.]+)", warnings)
    if match:
        parameters["command_timeout"] = float(match[1])
    with tempfile.TemporaryDirectory() as logs, NodeHarness(parameters, threads=None, logs=Path(logs)) as harness:
        begin = time.monotonic()
        peaks = Peaks(harness.pid("inference_node"))
        harness.start(on_wait=peaks.sample)
        start_duration = time.monotonic() - begin
        harness.set_instruction(_INSTRUCTION)
        samples, moving, end = 0, 0, time.monotonic() + _DRIVE
        while time.monotonic() < end:
            harness.spin_for(0.1)
            peaks.sample()
            samples += 1
            moving += harness.reason.startswith("MOVING")
        figures = f"frame {harness.latency} s, commands {harness.rate('command'):.1f} Hz, moving {moving / samples:.0%}"
        print(f"| drive through the node, fp32 | {start_duration:.1f} to active | {peaks} | {figures} |")
    print(f"\nWarnings of the node at its defaults:\n\n{warnings}")


def _default_warnings(parameters: dict[str, object]) -> str:
    with tempfile.TemporaryDirectory() as logs:
        with NodeHarness(parameters, threads=None, logs=Path(logs)) as harness:
            harness.start()
        lines = (Path(logs) / "inference_node.log").read_text().splitlines()
    return "\n".join(f"    {line.partition(']: ')[2]}" for line in lines if "[WARN]" in line)


if __name__ == "__main__":
    main()
