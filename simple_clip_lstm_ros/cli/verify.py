"""Check that a bundle is complete and unchanged: compare every file with its checksum.

Broken and missing files are listed on stdout, one per line, for a program that copies them again:

    simple_clip_lstm verify BUNDLE > broken || rsync -a --files-from=broken HOST:BUNDLE/ BUNDLE/
"""

from __future__ import annotations

import argparse
from pathlib import Path

from simple_clip_lstm_ros.cli.options import add_json_option, bytes_progress, print_json
from simple_clip_lstm_ros.errors import CheckpointError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_option(parser)
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a folder that `convert` made")


def run(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.checkpoint.verify import verify

    with bytes_progress() as progress:
        task = progress.add_task("checksums", total=None)
        result = verify(args.bundle, lambda done, total: progress.update(task, completed=done, total=total))
    if args.json:
        print_json({"bundle": str(args.bundle), "files": len(result.files), "broken": result.broken})
    elif result.broken:
        print(*result.broken, sep="\n", flush=True)
    else:
        print(result)
    if result.broken:
        raise CheckpointError(str(result))
