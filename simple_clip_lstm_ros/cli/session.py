"""Start an interactive session with a loaded checkpoint: infer, benchmark, show memory; `help` lists the commands.

A terminal has history and completion; Ctrl-C cancels the running command and Ctrl-D leaves. In a pipe it takes one
command per line, continues after an error, and exits 1 if a command failed.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_clip_lstm_ros.cli.options import CHECKPOINT, add_policy_options, load_with_progress
from simple_clip_lstm_ros.errors import SimpleClipLstmError, printable

if TYPE_CHECKING:
    from prompt_toolkit.history import History

    from simple_clip_lstm_ros.cli.session_commands import Session

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT)
    parser.add_argument("--instruction", metavar="TEXT", help="default: none; the command instruction sets it")
    add_policy_options(parser)


def run(args: argparse.Namespace) -> None:
    at_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    if at_terminal:
        import prompt_toolkit  # noqa: F401  (it may be missing: say so before gigabytes are loaded)
    session = _load(args)
    try:
        if at_terminal:
            _run_interactive(session)
        else:
            _run_piped(session)
    finally:
        session.close()


def _load(args: argparse.Namespace) -> Session:
    from simple_clip_lstm_ros.cli.infer import warn_about_policy
    from simple_clip_lstm_ros.cli.session_commands import Session, describe_policy

    policy = load_with_progress(args)
    session = Session(policy, args.checkpoint, args.instruction)
    warn_about_policy(policy)
    if policy.config.assumed:
        logger.warning(
            "neither the checkpoint nor --config states %s; `simple_clip_lstm inspect` shows what is assumed instead",
            ", ".join(policy.config.assumed),
        )
    loaded = printable(f"{args.checkpoint}: {describe_policy(policy)}; help lists the commands")
    print(loaded, file=sys.stderr, flush=True)
    return session


def _run_piped(session: Session) -> None:
    if sys.stdin is None:
        raise SimpleClipLstmError("stdin is closed: a session takes its commands from a terminal or a pipe")
    # A path may contain bytes that are not UTF-8.
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    succeeded = []
    for line in sys.stdin:
        try:
            succeeded.append(session.run(line))
        except KeyboardInterrupt:
            session.report_cancelled()
            succeeded.append(False)
        if session.finished:
            break
    failed = succeeded.count(False)
    if failed:
        raise SimpleClipLstmError(f"{failed} of these commands failed")


def _run_interactive(session: Session) -> None:
    prompt = _make_prompt()
    with _InterruptHandler() as interrupt:
        while not session.finished:
            try:
                text = prompt()
            except KeyboardInterrupt:  # the line is cleared
                continue
            except EOFError:
                return
            for line in text.splitlines():  # more than one if pasted
                if interrupt.cancels(session.run, line):
                    session.report_cancelled()
                    break
                if session.finished:
                    break


class _InterruptHandler:
    """Makes Ctrl-C raise KeyboardInterrupt once in the running command; further presses have no effect."""

    def __enter__(self) -> _InterruptHandler:
        self._armed = False
        self._previous = signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def cancels(self, command: Callable[[str], object], line: str) -> bool:
        """Run the command and return whether Ctrl-C ended it."""
        try:
            self._armed = True
            command(line)
        except KeyboardInterrupt:
            return True
        finally:
            self._armed = False
        return False

    def _on_interrupt(self, *_: Any) -> None:
        if self._armed:
            self._armed = False
            raise KeyboardInterrupt


def _make_prompt() -> Callable[[], str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import NestedCompleter, PathCompleter

    from simple_clip_lstm_ros.cli.session_commands import COMMANDS

    paths = PathCompleter(expanduser=True)
    completer = NestedCompleter.from_nested_dict(
        {name: paths if command.takes_path else None for name, command in COMMANDS.items()}
    )
    # Completion on Tab only: a menu at every key is slow over SSH.
    session: PromptSession[str] = PromptSession(history=_history(), completer=completer, complete_while_typing=False)
    return lambda: session.prompt("session> ")


def _history() -> History:
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    path = Path(state) / "simple_clip_lstm" / "history"
    try:
        if path.is_absolute():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("ab+").close()  # raises OSError unless it can be read and written
            return FileHistory(path)
    except OSError:
        pass
    return InMemoryHistory()
