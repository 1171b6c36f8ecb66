"""Show the memory of machine, container and GPU, and what a checkpoint would need of it at each precision.

Nothing is loaded: the need is computed from names, shapes and dtypes.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from simple_clip_lstm_ros.cli.options import (
    CHECKPOINT,
    add_config_options,
    add_device_options,
    add_json_option,
    print_json,
    survey_from_args,
)
from simple_clip_lstm_ros.cli.tables import estimate_table, make_console, memory_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help=CHECKPOINT)
    parser.add_argument("--pid", type=int, help="of a running process, as a node's; default: this one")
    add_device_options(parser)
    add_config_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.engine.memory import read_memory
    from simple_clip_lstm_ros.engine.precision import resolve_device

    memory = read_memory(resolve_device(args.device), args.pid)
    document: dict[str, Any] = asdict(memory)
    if not args.json:
        make_console().print(memory_table(memory))
    if args.checkpoint:
        candidates = survey_from_args(args)
        estimates = {str(execution): candidates.estimate(execution) for execution in candidates.configs()}
        document |= {"limit": candidates.limit, "needs": {name: asdict(each) for name, each in estimates.items()}}
        if not args.json:
            make_console().print("")
            make_console().print(estimate_table(estimates, candidates.limit))
    if args.json:
        print_json(document)
