"""`synth`: what the command adds to the writing itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Cli = Callable[..., Any]


def test_the_command_writes_the_file_and_says_that_it_is_untrained(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    outcome = cli("synth", "--profile", "tiny", path)
    assert (outcome.code, outcome.err) == (0, ""), "no progress bar in a pipe"
    assert str(path) in outcome.out
    assert "untrained" in outcome.out
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["own.pth", "own.pth.processors"]


@pytest.mark.parametrize("seed", [0, 7])
def test_the_seed_is_passed_on(cli: Cli, tiny: Path, tmp_path: Path, seed: int) -> None:
    assert cli("synth", "--profile", "tiny", "--seed", seed, tmp_path / "own.pth").code == 0
    own, zero = (torch.load(path, weights_only=False) for path in (tmp_path / "own.pth", tiny))
    assert own["args"].seed == seed
    name = "rnn.weight_ih_l0"
    assert torch.equal(own["model_state_dict"][name], zero["model_state_dict"][name]) == (seed == 0)


@pytest.mark.parametrize(
    ("out", "reason"),
    [("taken.pth", "taken.pth exists"), ("nowhere/x.pth", "nowhere is not a folder"), ("", "exists")],
    ids=["existing", "no folder", "the folder itself"],
)
def test_what_cannot_be_written_is_refused_in_one_line(cli: Cli, tmp_path: Path, out: str, reason: str) -> None:
    (tmp_path / "taken.pth").write_text("mine")
    outcome = cli("synth", "--profile", "tiny", tmp_path / out)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert reason in outcome.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken.pth"]
    assert (tmp_path / "taken.pth").read_text() == "mine"
