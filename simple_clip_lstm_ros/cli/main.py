"""The command `simple_clip_lstm SUBCOMMAND ...`.

Exit codes: 0 success, 1 refused or failed, 2 wrong usage, 130 interrupted. Results go to stdout, all else to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from simple_clip_lstm_ros import __version__
from simple_clip_lstm_ros.errors import SimpleClipLstmError, name_missing_extra, printable

# Each subcommand is a module of this package with add_arguments(parser) and run(args); its docstring is its help.
SUBCOMMANDS = (
    "inspect",
    "convert",
    "verify",
    "infer",
    "session",
    "benchmark",
    "memory",
    "doctor",
    "train",
    "sensitivity",
    "explain",
    "evaluate",
    "record",
    "replay",
    "episodes",
    "synth",
    "demo",
    "dashboard",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand with `argv` (default: sys.argv) and return the exit code."""
    subcommand, arguments = _split_arguments(sys.argv[1:] if argv is None else list(argv))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    program = f"simple_clip_lstm {subcommand}"
    try:
        with name_missing_extra(program):
            module = importlib.import_module(f"simple_clip_lstm_ros.cli.{subcommand}")
            parser = argparse.ArgumentParser(
                prog=program,
                description=module.__doc__,
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
            module.add_arguments(parser)
            module.run(parser.parse_args(arguments))
        sys.stdout.flush()
    except SimpleClipLstmError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`head`, `less`) has closed the pipe. The interpreter must not fail when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _split_arguments(argv: list[str]) -> tuple[str, list[str]]:
    # The subcommand's module is imported later, and alone: `--help` must not wait for torch.
    parser = argparse.ArgumentParser(
        prog="simple_clip_lstm",
        description="Kosmos-2 + CLIP + LSTM: from camera images and an instruction to velocities.",
        epilog="simple_clip_lstm SUBCOMMAND --help tells more of each.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("subcommand", choices=SUBCOMMANDS, metavar=f"SUBCOMMAND ({', '.join(SUBCOMMANDS)})")
    return parser.parse_args(argv[:1]).subcommand, argv[1:]


if __name__ == "__main__":
    sys.exit(main())
