"""Show what a checkpoint contains, from names and shapes only: no code in the file runs and no weight is read.

Exit code 1 if the file would not load; the report is printed as far as possible.
"""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from simple_clip_lstm_ros.cli.options import CHECKPOINT, add_config_options, add_json_option, overrides, print_json
from simple_clip_lstm_ros.cli.tables import make_console
from simple_clip_lstm_ros.errors import CheckpointError, printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=CHECKPOINT)
    add_config_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.checkpoint.inspect_report import build_report

    report = build_report(args.file, overrides(args))
    if args.json:
        print_json(report)
    else:
        _print_report(report)
    if report["problem"]:
        raise CheckpointError(f"{args.file} would not load: {report['problem']}")


def _print_report(report: dict[str, Any]) -> None:
    console = make_console()
    console.print(f"{report['file']}: {report['bytes'] / 1e9:.3f} GB, {report['keys']} tensors, ", end="")
    console.print(f"{report['parameters']:,} parameters, {report['precision']}")
    for name, value in report["metadata"].items():
        console.print(printable(f"  {name}: {value}"))
    if report["untrained"]:
        console.print("UNTRAINED: random weights; the node commands zero unless allow_untrained is set")
    if report["reductions"]:
        console.print(f"CUT: {report['reductions']}; the actions are not those of the whole model")
    console.print(_component_table(report["components"]))
    for note in report["notes"]:
        console.print(f"note: {note}")
    if report["features"]:
        console.print(f"features: {' + '.join(report['features'])}")
    if report["assumed"]:
        console.print("\nNeither the file nor --config states these; they are assumed:")
        console.print(_assumption_table(report["assumed"]))


def _component_table(components: list[dict[str, Any]]) -> Table:
    table = Table("component", "tensors", "parameters", "dtypes", "layers and widths", box=None, pad_edge=False)
    for row in components:
        table.add_row(
            row["name"], str(row["tensors"]), f"{row['parameters']:,}", ", ".join(row["dtypes"]), row["structure"]
        )
    return table


def _assumption_table(assumed: list[dict[str, Any]]) -> Table:
    table = Table("setting", "assumed", "alternatives", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for row in assumed:
        value = " + ".join(map(str, row["value"])) if row["setting"] == "features" else str(row["value"])
        table.add_row(row["setting"], value, "; ".join(row["alternatives"]))
    return table
