"""What is in a checkpoint, from names and shapes alone: nothing in the file runs and no weight is read.

Exit 1 if the file would not load; the report is printed as far as it goes.
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

    found = build_report(args.file, overrides(args))
    if args.json:
        print_json(found)
    else:
        _show(found)
    if found["problem"]:
        raise CheckpointError(f"{args.file} would not load: {found['problem']}")


def _show(found: dict[str, Any]) -> None:
    console = make_console()
    console.print(f"{found['file']}: {found['bytes'] / 1e9:.3f} GB, {found['keys']} tensors, ", end="")
    console.print(f"{found['parameters']:,} parameters, {found['precision']}")
    for name, value in found["metadata"].items():
        console.print(printable(f"  {name}: {value}"))
    if found["untrained"]:
        console.print("UNTRAINED: random weights; the node commands zero unless allow_untrained is set")
    if found["reductions"]:
        console.print(f"CUT: {found['reductions']}; the actions are not those of the whole model")
    console.print(_components(found["components"]))
    for note in found["notes"]:
        console.print(f"note: {note}")
    if found["features"]:
        console.print(f"features: {' + '.join(found['features'])}")
    if found["assumed"]:
        console.print("\nNeither the file nor --config states these; they are assumed:")
        console.print(_assumptions(found["assumed"]))


def _components(components: list[dict[str, Any]]) -> Table:
    table = Table("component", "tensors", "parameters", "dtypes", "layers and widths", box=None, pad_edge=False)
    for row in components:
        table.add_row(
            row["name"], str(row["tensors"]), f"{row['parameters']:,}", ", ".join(row["dtypes"]), row["structure"]
        )
    return table


def _assumptions(assumed: list[dict[str, Any]]) -> Table:
    table = Table("setting", "assumed", "alternatives", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for row in assumed:
        value = " + ".join(map(str, row["value"])) if row["setting"] == "features" else str(row["value"])
        table.add_row(row["setting"], value, "; ".join(row["alternatives"]))
    return table
