"""The command itself: exit codes, help, and manners in a pipe."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from simple_clip_lstm_ros import __version__
from simple_clip_lstm_ros.cli import inspect
from simple_clip_lstm_ros.cli.main import SUBCOMMANDS, main

Cli = Callable[..., Any]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["--nonsense"],
        ["inspect"],
        ["inspect", "--nonsense", "x.pth"],
        ["inspect", "x.pth", "y.pth"],
        ["inspect", "x.pth", "--js"],
        ["synth", "x.pth"],
        ["synth", "--profile", "huge", "x.pth"],
        ["synth", "--profile", "tiny"],
        ["synth", "--profile", "tiny", "--seed", "one", "x.pth"],
        ["infer", "x.pth"],
        ["infer", "--image", "x.png"],
        ["session"],
        ["session", "x.pth", "y.pth"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_shows_the_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("usage: simple_clip_lstm")


def test_an_unknown_verb_is_answered_with_those_there_are(cli: Cli) -> None:
    outcome = cli("dance")
    assert outcome.code == 2
    assert all(verb in outcome.err for verb in ("'dance'", *SUBCOMMANDS))


def test_help_names_every_verb(cli: Cli) -> None:
    outcome = cli("--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert all(verb in outcome.out for verb in SUBCOMMANDS)


def test_the_version_is_that_of_the_package(cli: Cli) -> None:
    assert cli("--version").out.strip() == __version__


@pytest.mark.parametrize("verb", SUBCOMMANDS)
def test_help_does_not_wait_for_the_large_libraries(verb: str, environment: dict[str, str]) -> None:
    """Importing torch takes seconds; here the import would fail."""
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'rclpy'): sys.modules[name] = None\n"
        "from simple_clip_lstm_ros.cli.main import main\n"
        f"main([{verb!r}, '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: simple_clip_lstm {verb}")


def test_an_interrupt_exits_130_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect, "run", interrupted)
    assert main(["inspect", "x.pth"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_error_stays_one_line_whatever_names_the_file_holds(cli: Cli, save: Callable) -> None:
    outcome = cli("inspect", save({"first\nsecond\r\nthird.weight": torch.ones(2)}))
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [["inspect"], ["inspect", "--json"], ["infer"], ["infer", "--json"]],
    ids=" ".join,
)
def test_a_reader_that_has_gone_is_no_reason_to_complain(
    cli: Cli, tiny: Path, photograph: Path, arguments: list[str]
) -> None:
    verb, *options = arguments
    given = {"inspect": [tiny], "infer": [tiny, "--image", photograph]}[verb]
    outcome = cli(verb, *given, *options, reader_gone=True)
    assert (outcome.said if verb == "infer" else outcome.err) == (UNTRAINED if verb == "infer" else "")
    assert outcome.code in (0, 1)


UNTRAINED = "WARNING: these weights are untrained (random): the actions mean nothing\n"


@pytest.mark.slow
def test_head_gets_its_line_and_nobody_complains(tiny: Path, environment: dict[str, str]) -> None:
    command = (
        f"{shlex.quote(sys.executable)} -m simple_clip_lstm_ros.cli.main inspect {shlex.quote(str(tiny))} | head -1"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, timeout=120)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert str(tiny) in done.stdout
