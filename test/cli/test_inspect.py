"""`inspect`: the same report for people and for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from simple_clip_lstm_ros.checkpoint.inspect_report import build_report

State = dict[str, torch.Tensor]
Cli = Callable[..., Any]


def _strict(text: str) -> Any:
    """Read as any other language would: NaN and Infinity are no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_is_one_document_and_all_there_is(cli: Cli, tiny: Path) -> None:
    outcome = cli("inspect", tiny, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    found, direct = _strict(outcome.out), build_report(tiny, {})
    for name in ("keys", "parameters", "components", "features", "assumed", "policy_config", "untrained"):
        assert found[name] == json.loads(json.dumps(direct[name])), name


def test_json_of_any_metadata_is_valid(cli: Cli, content: dict, save: Callable) -> None:
    content |= {
        "best": float("inf"),
        "hyper_parameters": {"data": Path("/data"), "loss": float("nan")},
        "ema": {"shadow": torch.ones(2)},
        "args": argparse.Namespace(lr=float("-inf"), path=Path("/x")),
    }
    outcome = cli("inspect", save(content), "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert _strict(outcome.out)["metadata"]["args"]["path"] == "/x"


def test_json_of_a_file_that_would_not_load_holds_the_problem(cli: Cli, state: State, save: Callable) -> None:
    outcome = cli("inspect", save(state | {"value.bias": torch.ones(2)}), "--json")
    assert outcome.code == 1
    assert _strict(outcome.out)["problem"] in outcome.err


def test_the_text_says_what_is_in_the_file(cli: Cli, tiny: Path) -> None:
    outcome = cli("inspect", tiny)
    assert (outcome.code, outcome.err) == (0, "")
    found = build_report(tiny, {})
    assert "UNTRAINED" in outcome.out
    assert f"{found['keys']} tensors, {found['parameters']:,} parameters" in outcome.out
    assert f"features: {' + '.join(found['features'])}" in outcome.out
    assert "profile" in outcome.out, "the training's args"
    lines = outcome.out.splitlines()
    for row in found["components"]:
        (line,) = [line for line in lines if line.startswith(row["name"])]
        assert all(part in line for part in (f"{row['parameters']:,}", "float32", row["structure"]))
    assert "assumed" not in outcome.out


def test_a_trained_file_is_not_called_untrained(cli: Cli, state: State, save: Callable) -> None:
    assert "UNTRAINED" not in cli("inspect", save(state)).out


def test_the_text_lists_what_is_assumed_with_the_alternatives(cli: Cli, state: State, save: Callable) -> None:
    path = save(state)
    outcome = cli("inspect", path)
    table = outcome.out.partition("assumed:")[2].splitlines()
    for row in build_report(path, {})["assumed"]:
        (line,) = [line for line in table if line.split()[:1] == [row["setting"]]]
        assert row["alternatives"][0].split()[0] in line


def test_notes_are_told(cli: Cli, state: State, save: Callable) -> None:
    state["kosmos_model.text_model.lm_head.weight"] = state["kosmos_model.text_model.model.embed_tokens.weight"]
    assert "note: kosmos_model.text_model.lm_head.weight left aside" in cli("inspect", save(state)).out


def test_a_config_of_the_user_is_taken_into_account(cli: Cli, state: State, save: Callable, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("kosmos_text_pooling: last\n")
    outcome = cli("inspect", save(state), "--config", tmp_path / "own.yaml", "--json")
    found = _strict(outcome.out)
    assert found["policy_config"]["kosmos_text_pooling"] == "last"
    assert "kosmos_text_pooling" not in {row["setting"] for row in found["assumed"]}


@pytest.mark.parametrize("text", ["[bold]run 3[/bold]", "[/data/run]", ":car: and [link=x]", "\x1b[31mred"])
def test_metadata_is_shown_as_it_is_and_not_as_markup(cli: Cli, content: dict, save: Callable, text: str) -> None:
    outcome = cli("inspect", save(content | {"run": text}))
    assert (outcome.code, outcome.err) == (0, "")
    assert "\x1b" not in outcome.out, "nothing in a file may steer the terminal"
    assert text.replace("\x1b", "") in outcome.out.replace("\\x1b", "")


@pytest.mark.parametrize("name", ["model[v2].pth", "[bold].pth"])
def test_the_name_of_the_file_is_shown_as_it_is(cli: Cli, tiny: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(tiny)
    outcome = cli("inspect", tmp_path / name)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"{tmp_path / name}: " in outcome.out
