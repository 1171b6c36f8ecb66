"""`session` as a user runs it: in a pipe, and at a terminal (a pty)."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from warm_python import WarmPython

from simple_clip_lstm_ros.cli import session

Cli = Callable[..., Any]
COMMAND = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main", "session"]
PATIENCE = 60.0  # s, for what takes a few on a machine with nothing else to do

# --- in a pipe ------------------------------------------------------------------------------------------------


def test_commands_are_taken_line_by_line_and_none_failed(cli: Cli, tiny: Path, photograph: Path) -> None:
    lines = f"infer {photograph}\n\nreset\ninfer {photograph}\nstatus"  # no line end at the last
    outcome = cli("session", tiny, "--instruction", "go home", stdin=lines.encode())
    assert outcome.code == 0
    first, reset, second, *status = outcome.out.splitlines()
    strip = re.compile(r"\d+ ms")
    assert strip.sub("", first) == strip.sub("", second)
    assert first.startswith("photograph.png  linear.x ") and first.endswith(" step 1")
    assert reset == "the hidden state is cleared"
    assert any(re.fullmatch(r"instruction +go home *", line) for line in status)


def test_an_action_is_what_the_verb_infer_prints(cli: Cli, tiny: Path, photograph: Path) -> None:
    verb = cli("infer", tiny, "--image", photograph, "--instruction", "go home")
    outcome = cli("session", tiny, "--instruction", "go home", stdin=f"infer {photograph}\n".encode())
    strip = re.compile(r"\d+ ms")
    assert strip.sub("", outcome.out) == strip.sub("", verb.out) != ""


def test_it_says_what_was_loaded_and_that_it_means_nothing(cli: Cli, tiny: Path) -> None:
    outcome = cli("session", tiny)
    assert (outcome.code, outcome.out) == (0, "")
    warning, loaded = outcome.said.splitlines()
    assert warning == "WARNING: these weights are untrained (random): the actions mean nothing"
    assert loaded.startswith(f"{tiny}: ") and loaded.endswith("parameters, fp32 on cpu; help lists the commands")


def test_what_is_assumed_is_told(cli: Cli, content: dict[str, Any], save: Callable[[Any], Path]) -> None:
    content["policy_config"].pop("prompt")
    content["policy_config"]["assumed"] = ["prompt"]
    outcome = cli("session", save(content))
    assert outcome.code == 0
    assert "WARNING: neither the checkpoint nor --config states prompt; `simple_clip_lstm inspect`" in outcome.err


def test_it_goes_on_after_an_error_and_exits_1(cli: Cli, tiny: Path, photograph: Path) -> None:
    lines = f"infre\ninfer {photograph}\ninstruction go home\ninfer {photograph}\n"
    outcome = cli("session", tiny, stdin=lines.encode())
    assert outcome.code == 1
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["instruction:", "photograph.png"]
    assert [line for line in outcome.err.splitlines() if line.startswith("error: ")] == [
        "error: unknown command 'infre'; did you mean infer?",
        "error: no instruction: instruction TEXT",
        "error: 2 of these commands failed",
    ]


def test_quit_ends_it_before_the_end(cli: Cli, tiny: Path) -> None:
    outcome = cli("session", tiny, stdin=b"quit\ninfre\n")
    assert (outcome.code, outcome.out) == (0, "")
    assert "error" not in outcome.err


def test_in_a_pipe_there_is_neither_prompt_nor_control_sequence(cli: Cli, tiny: Path, photograph: Path) -> None:
    commands = (
        f"help\nstatus\nmemory\nclear\nbenchmark 2\ncamera {photograph}\ninfer\ninstruction go\ninfer\nnonsense\n"
    )
    outcome = cli("session", tiny, stdin=commands.encode())
    for text in (outcome.out, outcome.err):
        assert not re.search(r"[^\x20-\x7e\n]|session>|> ", text)


def test_bytes_that_are_no_text_are_an_error_like_any_other(cli: Cli, tiny: Path) -> None:
    outcome = cli("session", tiny, stdin=b"instruction go \xff\ninfer /nowhere\xff.png\ninstruction go home\n")
    assert outcome.code == 1
    assert outcome.out == "instruction: go home\n"
    assert "error: 2 of these commands failed" in outcome.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["/nowhere.pth"], "/nowhere.pth does not exist"),
        (["--processors", "/nowhere"], "no processors folder at /nowhere"),
        (["--instruction", "go <image>"], "control token <image>"),
        (["--precision", "int3"], "precision 'int3' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_without_a_model_there_is_no_session(cli: Cli, tiny: Path, options: list[str], reason: str) -> None:
    checkpoint = [] if options[0].startswith("/") else [tiny]
    outcome = cli("session", *checkpoint, *options, stdin=b"status\n")
    assert (outcome.code, outcome.out) == (1, "")
    line = outcome.said if "--instruction" in options else outcome.err
    assert line.count("\n") == 1
    assert line.startswith("error: ") and reason in line


def test_a_reader_that_has_gone_is_no_reason_to_complain(cli: Cli, tiny: Path) -> None:
    outcome = cli("session", tiny, stdin=b"status\nhelp\n", reader_gone=True)
    assert outcome.code in (0, 1)
    assert len(outcome.said.splitlines()) == 2  # untrained, loaded


@pytest.mark.slow
def test_in_a_pipe_an_interrupt_cancels_the_command_and_not_the_session(
    tiny: Path, photograph: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    for index in range(3000):
        (tmp_path / f"{index:04}.png").symlink_to(photograph)
    command = [*COMMAND, str(tiny), "--instruction", "go home"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    # What runs in the background of a shell ignores it, and so do its children.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None}
    with subprocess.Popen(command, text=True, env=environment, **pipes, **heeding) as process:
        process.stdin.write(f"infer {tmp_path}\n")
        process.stdin.flush()
        # More lines than a pipe holds: the command cannot end before they are read.
        assert process.stdout.readline().endswith("step 1\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate("status\n", timeout=PATIENCE)
    held = int(re.search(r"^hidden state +(\d+) frame", out, re.MULTILINE)[1])
    printed = 1 + out.count("  step ")
    assert printed <= held <= printed + 1 < 3000
    assert f"cancelled; the hidden state holds {held} frame" in err
    assert process.returncode == 1


# --- at a terminal --------------------------------------------------------------------------------------------


class Terminal:
    """The session's process on a pty of its own, and what it has shown there."""

    def __init__(self, python: WarmPython, arguments: list[str], environment: dict[str, str]) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 200, 0, 0))
        self._process = python.start(
            [*COMMAND[1:], *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        os.close(slave)
        self._raw = b""
        self._seen = 0

    @property
    def shown(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._raw.decode(errors="replace"))

    def until(self, pattern: str) -> re.Match[str]:
        """Waits for it after all that was waited for before."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.compile(pattern).search(self.shown, self._seen)):
            assert time.monotonic() < deadline, self.shown
            assert self._read(), self.shown
        self._seen = found.end()
        return found

    def send(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def ended(self) -> int:
        while self._read():
            pass
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _read(self) -> bool:
        """False at the end."""
        if not select.select([self._master], [], [], PATIENCE)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux's way to say that nobody has the terminal open any more
            return False
        self._raw += data
        return bool(data)


@pytest.fixture
def terminal(
    warm_python: WarmPython, tiny: Path, environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[], Terminal]]:
    """Starts a session whose history is in `tmp_path`, and waits for its prompt."""
    opened = []
    own = {"TERM": "xterm", "XDG_STATE_HOME": str(tmp_path), "PROMPT_TOOLKIT_NO_CPR": "1"}

    def start() -> Terminal:
        opened.append(Terminal(warm_python, [str(tiny)], environment | own))
        opened[-1].until("help lists the commands")
        opened[-1].until("session>")
        return opened[-1]

    yield start
    for item in opened:
        item.close()


@pytest.mark.slow
def test_ctrl_c_cancels_the_command_or_the_line_and_ctrl_d_leaves(terminal: Callable[[], Terminal]) -> None:
    shell = terminal()
    shell.send("benchmark 100000\r")
    shell.until(r"[1-9]\d*/100002")  # steps done, of the progress
    shell.send("\x03\x03\x03")  # as people do
    shell.until("cancelled; the hidden state holds 0 frames")
    shell.until("session>")
    shell.send("instruction go home\r")
    shell.until("instruction: go home")
    shell.until("session>")
    shell.send("rubbish")
    shell.until("rubbish")
    shell.send("\x03")
    shell.until("session>")
    shell.send("status\r")
    shell.until("instruction +go home")
    shell.until("session>")
    shell.send("infre\r")
    shell.until("error: unknown command 'infre'; did you mean infer")
    shell.until("session>")
    shell.send("\x04")
    assert shell.ended() == 0
    assert "unknown command 'rubbish" not in shell.shown
    assert "Traceback" not in shell.shown


@pytest.mark.slow
def test_the_next_session_remembers_what_was_typed_and_tab_completes(
    terminal: Callable[[], Terminal], tmp_path: Path
) -> None:
    first = terminal()
    first.send("instruction go home\r")
    first.until("instruction: go home")
    first.until("session>")
    first.send("quit\r")
    assert first.ended() == 0
    assert "+instruction go home\n" in (tmp_path / "simple_clip_lstm" / "history").read_text()

    second = terminal()
    second.send("\x1b[A\x1b[A\r")  # up, up
    second.until("instruction: go home")
    second.until("session>")
    second.send("stat\t")
    second.until("status")
    second.send("\r")
    second.until("instruction +go home")
    second.until("session>")
    second.send("\x04")
    assert second.ended() == 0


@pytest.mark.parametrize("state", ["relative", "file/state"], ids=["no folder", "not writable"])
def test_without_a_place_for_it_the_history_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", state if state == "relative" else str(tmp_path / state))
    history = session._history()
    history.append_string("status")
    assert history.get_strings() == ["status"]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_history_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    session._history().append_string("status")
    assert "+status\n" in (tmp_path / ".local" / "state" / "simple_clip_lstm" / "history").read_text()


# --- Ctrl-C ---------------------------------------------------------------------------------------------------


def press(_: str = "") -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_raises_once_in_a_command_and_nowhere_else() -> None:
    cleaned = []

    def command(_: str) -> None:
        try:
            press()
            raise AssertionError("not interrupted")
        finally:
            press()
            cleaned.append(True)

    before = signal.getsignal(signal.SIGINT)
    with session._InterruptHandler() as interrupt:
        press()
        assert interrupt.cancels(command, "")
        press()
        assert not interrupt.cancels(lambda line: None, "")
        press()
        assert interrupt.cancels(press, "")
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGINT) is before
