"""Print the speed tables of docs/benchmarks.md: `python benchmarks/run.py CHECKPOINT --precision bf16 int8 ...`.

Takes the options of `simple_clip_lstm benchmark` and prints its tables in Markdown, with a histogram of latencies; with
`--of FILE` those of a saved document.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console

from simple_clip_lstm_ros.benchmark.environment import format_env
from simple_clip_lstm_ros.cli import benchmark
from simple_clip_lstm_ros.cli.benchmark_tables import document_tables, heading, read_benchmark, remarks
from simple_clip_lstm_ros.errors import SimpleClipLstmError, printable

_BINS = 24
_WIDTH = 60  # characters of the longest bar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", metavar="FILE", type=Path, help="of this document, and measure nothing")
    benchmark.add_benchmark_options(parser)
    args = parser.parse_args()
    if args.of is None and args.checkpoint is None:
        parser.error("CHECKPOINT or --of FILE is needed")
    try:
        show(read_benchmark(args.of) if args.of else benchmark.measure(args))
    except SimpleClipLstmError as error:
        parser.exit(1, f"error: {printable(str(error))}\n")


def show(document: dict[str, Any]) -> None:
    console = Console(width=200, soft_wrap=True, highlight=False, markup=False)
    for table in document_tables(document):
        table.box, table.pad_edge = box.MARKDOWN, True
        console.print(table)
        console.print()
    for line in remarks(document):
        console.print(f"- {line}")
    console.print(f"\n{format_env(document['conditions'])}\n")
    for name, execution in document["ways"].items():
        console.print(f"{heading(name, execution)}, ms:\n")
        for line in histogram(execution["seconds"]):
            console.print(f"    {line}")
        console.print()


def histogram(seconds: Sequence[float]) -> list[str]:
    """Return a line for each bin: its lower edge (ms), a bar and a count."""
    counts, edges = np.histogram(np.array(seconds) * 1e3, bins=_BINS)
    return [
        f"{edge:9.1f}  {'#' * round(_WIDTH * count / counts.max())} {count or ''}".rstrip()
        for edge, count in zip(edges, counts, strict=False)
    ]


if __name__ == "__main__":
    main()
