"""Check that a bundle arrived as it was written: every file against its checksum.

Files that are broken or missing are listed on stdout, one a line, for whatever copies them again:

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
        verified = verify(args.bundle, lambda done, total: progress.update(task, completed=done, total=total))
    if args.json:
        print_json({"bundle": str(args.bundle), "files": len(verified.files), "broken": verified.broken})
    elif verified.broken:
        print(*verified.broken, sep="\n", flush=True)
    else:
        print(verified)
    if verified.broken:
        raise CheckpointError(str(verified))
