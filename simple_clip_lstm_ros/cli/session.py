"""A console on a loaded checkpoint: act on images or a camera, measure, look at the memory; `help` lists the commands.

At a terminal it has history and completion; Ctrl-C cancels the command that runs and Ctrl-D leaves. In a pipe it takes
one command a line, goes on after an error, and exits 1 if a command failed.
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
    session = _load(args)
    try:
        if sys.stdin.isatty() and sys.stdout.isatty():
            _at_terminal(session)
        else:
            _in_pipe(session)
    finally:
        session.close()


def _load(args: argparse.Namespace) -> Session:
    from simple_clip_lstm_ros.cli.infer import warn_of
    from simple_clip_lstm_ros.cli.session_commands import Session, describe_policy

    policy = load_with_progress(args)
    session = Session(policy, args.checkpoint, args.instruction)
    warn_of(policy)
    if policy.config.assumed:
        logger.warning(
            "neither the checkpoint nor --config states %s; `simple_clip_lstm inspect` shows what is assumed instead",
            ", ".join(policy.config.assumed),
        )
    loaded = printable(f"{args.checkpoint}: {describe_policy(policy)}; help lists the commands")
    print(loaded, file=sys.stderr, flush=True)
    return session


def _in_pipe(session: Session) -> None:
    if sys.stdin is None:
        raise SimpleClipLstmError("stdin is closed: a session takes its commands from a terminal or a pipe")
    # A path may hold bytes that are no text.
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    worked = []
    for line in sys.stdin:
        try:
            worked.append(session.run(line))
        except KeyboardInterrupt:
            session.cancelled()
            worked.append(False)
        if session.finished:
            break
    failed = worked.count(False)
    if failed:
        raise SimpleClipLstmError(f"{failed} of these commands failed")


def _at_terminal(session: Session) -> None:
    prompt = _prompt()
    with _CtrlC() as ctrl_c:
        while not session.finished:
            try:
                text = prompt()
            except KeyboardInterrupt:  # the line is cleared
                continue
            except EOFError:
                return
            for line in text.splitlines():  # more than one if pasted
                if ctrl_c.cancels(session.run, line):
                    session.cancelled()
                    break
                if session.finished:
                    break


class _CtrlC:
    """Ctrl-C raises KeyboardInterrupt in the command that runs, once; pressed again, or later, it does no harm."""

    def __enter__(self) -> _CtrlC:
        self._armed = False
        self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def cancels(self, command: Callable[[str], object], line: str) -> bool:
        """Run the command; whether Ctrl-C ended it."""
        try:
            self._armed = True
            command(line)
        except KeyboardInterrupt:
            return True
        finally:
            self._armed = False
        return False

    def _pressed(self, *_: Any) -> None:
        if self._armed:
            self._armed = False
            raise KeyboardInterrupt


def _prompt() -> Callable[[], str]:
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
            path.open("ab+").close()  # can be read and written
            return FileHistory(path)
    except OSError:
        pass
    return InMemoryHistory()
