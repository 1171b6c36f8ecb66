"""simple_clip_lstm evaluate: real nodes in worlds, the table, the document, the plot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simple_clip_lstm_ros.cli.main import main

Evaluate = Callable[..., Any]


@pytest.fixture
def evaluate(cli: Callable[..., Any]) -> Evaluate:
    return lambda *arguments: cli("evaluate", *arguments)


@pytest.mark.ros
@pytest.mark.slow
def test_it_drives_the_nodes_and_tells_scores_with_intervals(evaluate: Evaluate, tiny: Path, tmp_path: Path) -> None:
    """A random model that drives ahead touches the box at each layout, as driving straight on does."""
    (tmp_path / "ahead.yaml").write_text("action_scale: [0.1, 0.05]\naction_offset: [0.4, 0.0]\n")
    options = ["--layouts", "2", "--first-seed", "1000002", "--config", str(tmp_path / "ahead.yaml")]
    conditions = ["--conditions", "as trained", "blank image", "--plot", str(tmp_path / "plot.png")]
    done = evaluate(tiny, *options, *conditions, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["layouts"] == 2 and document["first seed"] == 1_000_002
    assert list(document["scores"]) == ["constant output, no model", "as trained", "blank image"]
    for found in document["scores"].values():
        assert found["contact"]["share"] == 1.0 and found["contact"]["total"] == 2 and found["success"]["count"] == 0
        assert found["contact"]["interval"] == pytest.approx([0.3424, 1.0], abs=1e-3) and found["time"] is None
    assert (tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.ros
@pytest.mark.slow
def test_the_model_that_ships_drives_where_it_is_told(evaluate: Evaluate) -> None:
    """A small campaign in worlds that no training saw."""
    done = evaluate("builtin:tiny", "--layouts", "20", "--device", "cpu", "--json")
    assert done.code == 0, done.err
    scores = json.loads(done.out)["scores"]
    driven, constant = scores["as trained"], scores["constant output, no model"]
    assert driven["success"]["total"] == 20 and driven["success"]["count"] >= 17
    assert driven["success"]["interval"][0] > constant["success"]["interval"][1]
    assert driven["obeyed"]["count"] == driven["obeyed"]["total"]


@pytest.mark.parametrize(
    "words, told",
    [
        (["--conditions", "dark"], "unknown condition 'dark'; there are all, as trained"),
        (["--layouts", "0"], "--layouts must be at least 1"),
        (["--first-seed", "-1"], "--first-seed zero or more"),
    ],
)
def test_bad_input_is_one_line(tiny: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert main(["evaluate", str(tiny), *words]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and told in error
