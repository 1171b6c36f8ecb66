"""simple_clip_lstm sensitivity: the table, the verdict, the document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simple_clip_lstm_ros.cli.main import main


def test_it_tells_what_moves_the_action_and_the_verdict(
    tiny: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["sensitivity", str(tiny), "--frames", "3"]) == 0
    shown = capsys.readouterr()
    rows = [line.split() for line in shown.out.splitlines()]
    assert ["image", "blank"] in [row[:2] for row in rows] and ["state", "reset"] in [row[:2] for row in rows]
    assert shown.out.splitlines()[-1] == "this model uses the image and the instruction and its memory"
    assert "untrained" in caplog.text


def test_the_document_has_all_of_it(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sensitivity", str(tiny), "--frames", "2", "--instruction", "go to the cup", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["instruction"] == "go to the cup" and document["frames"] == 2 and document["untrained"]
    assert len(document["effects"]) == 8 and document["verdict"].startswith("this model")
    assert set(document["effects"][0]) == {"sense", "change", "by_axis", "share"}


@pytest.mark.parametrize(
    "words, told",
    [
        (["--frames", "1"], "at least two"),
        (["--frames", "-3"], "at least two"),
        (["--instruction", "<image> go"], "control token"),
        (["--image", "nowhere"], "nowhere does not exist"),
    ],
)
def test_bad_input_is_one_line(tiny: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert main(["sensitivity", str(tiny), *words]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and told in error
