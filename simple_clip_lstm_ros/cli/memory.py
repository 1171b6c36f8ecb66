"""What memory the machine, its container and its GPU have; and what a checkpoint would need of it, at each precision.

Nothing is loaded: the need follows from names, shapes and dtypes.
"""

from __future__ import annotations

import argparse

from simple_clip_lstm_ros.cli.memory_table import memory_table, need_table
from simple_clip_lstm_ros.cli.options import add_config_options, add_device_options, overrides, tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help="a .pth checkpoint or a bundle")
    parser.add_argument("--pid", type=int, help="of a running process, as a node's; default: this one")
    add_device_options(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.engine.memory import read_memory
    from simple_clip_lstm_ros.engine.precision import resolve_device

    device = resolve_device(args.device)
    console = tables()
    console.print(memory_table(read_memory(device, args.pid)))
    if args.checkpoint:
        from simple_clip_lstm_ros.checkpoint.plan import survey

        found = survey(args.checkpoint, args.processors, args.device, overrides(args), args.memory_budget_gb)
        console.print()
        console.print(need_table({option.name: found.need(option) for option in found.options()}, found.limit))
