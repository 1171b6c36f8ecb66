"""Check that a bundle arrived as it was written: every file against its checksum."""

from __future__ import annotations

import argparse
from pathlib import Path

from simple_clip_lstm_ros.cli.options import add_json_option, bytes_progress, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_option(parser)
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a folder that `convert` made")


def run(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.checkpoint.bundle import verify

    with bytes_progress() as progress:
        task = progress.add_task("checksums", total=None)
        count = verify(args.bundle, lambda done, total: progress.update(task, completed=done, total=total))
    if args.json:
        print_json({"bundle": str(args.bundle), "files": count})
    else:
        print(f"{args.bundle}: {count} files are as they were written")
