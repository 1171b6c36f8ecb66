"""Compare how PyTorch's threads wait for one another, and their number, on a CPU that other processes use too.

    python benchmarks/threads.py CHECKPOINT --processors DIR --layers kosmos_text=2,kosmos_vision=2,clip_text=1

Takes options of `simple_clip_lstm benchmark`, runs it in parallel with busy processes, and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from watch import machine

# libgomp's default is a spin of this many turns; the package sets passive waiting.
_CONFIGS = {
    "asleep": {},
    "spinning": {"GOMP_SPINCOUNT": "300000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, len(os.sched_getaffinity(0))], metavar="N")
    args, words = parser.parse_known_args()
    print(f"{machine()}\n")
    print("| threads wait | busy neighbours | model p50 ms | p99 | in the node, raw p50 | compressed p50 ", end="")
    print("| overhead p99 | commands within 20 % |\n|---|---|---|---|---|---|---|---|")
    for name, environment in _CONFIGS.items():
        for count in args.busy:
            with busy_processes(count):
                print(f"| {name} | {count} | {row(words, environment)} |", flush=True)


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run `count` processes that keep a CPU busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def row(words: Sequence[str], environment: dict[str, str]) -> str:
    """Run the benchmark and return a table row, with times in ms.

    Overhead and on-time share are the worse ones of the two transports.
    """
    command = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main", "benchmark", *words, "--no-baseline", "--json"]
    process = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True)
    document = json.loads(process.stdout)
    (execution,), drives = document["ways"].values(), document["node"]["drives"]
    times = [
        execution["frame"]["p50"],
        execution["frame"]["p99"],
        *(drive["latency"]["p50"] for drive in drives.values()),
    ]
    times.append(max(drive["overhead"]["p99"] for drive in drives.values()))
    on_time = min(drive["commands"]["on_time"] for drive in drives.values())
    return " | ".join([*(f"{seconds * 1e3:.1f}" for seconds in times), f"{on_time:.1%}"])


if __name__ == "__main__":
    main()
