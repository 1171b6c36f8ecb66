"""`builtin:NAME` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simple_clip_lstm_ros.cli.main import main


def test_every_verb_takes_it(models: Path, photograph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = (
        ["inspect", "builtin:small", "--json"],
        ["verify", "builtin:small", "--json"],
        ["memory", "builtin:small", "--json"],
        ["infer", "builtin:small", "--image", str(photograph), "--instruction", "go", "--json"],
        ["convert", "builtin:small", "copy", "--json"],
    )
    for words in commands:
        assert main(words) == 0, capsys.readouterr().err
        assert json.loads(capsys.readouterr().out)
    assert Path("copy").is_dir()
