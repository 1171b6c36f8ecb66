"""benchmark as a command: what it measures, writes, compares and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def saved(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmark") / "figures.json"


@pytest.fixture(scope="module")
def document(tiny: Path, saved: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Of three precisions beside the baseline."""
    words = ["benchmark", tiny, "--precision", "auto", "bf16", "int8", "--rounds", "8", "--save", saved, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "simple_clip_lstm_ros.cli.main", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment | {"ROS_DOMAIN_ID": str(1 + os.getpid() % 101)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


pytestmark = [pytest.mark.slow, pytest.mark.ros]


def test_each_way_is_measured_beside_the_baseline(document: dict[str, Any]) -> None:
    ways = document["ways"]
    assert {name: way["precision"] for name, way in ways.items()} == {
        "baseline": "fp32",
        "auto": "fp32",
        "bf16": "bf16",
        "int8": "int8",
    }
    for way in ways.values():
        assert len(way["seconds"]) == document["rounds"] == 8
        assert 0.0 < way["frame"]["p50"] <= way["frame"]["p90"] <= way["frame"]["p99"]
        assert 0.0 < way["share"] < 1.0
        assert way["anonymous"] < way["resident"]


def test_errors_are_against_the_baseline_on_the_same_photographs(document: dict[str, Any]) -> None:
    errors = {name: way["error"] for name, way in document["ways"].items()}
    assert set(errors["auto"]["actions"].values()) == {0.0} and document["ways"]["auto"]["passes"]
    assert 0.0 < max(errors["bf16"]["features"].values()) < 0.03
    assert max(errors["bf16"]["features"].values()) < max(errors["int8"]["features"].values()) < 0.1


def test_only_the_baseline_reads_the_text_for_each_frame(document: dict[str, Any]) -> None:
    with_text = {name for name, way in document["ways"].items() if way["components"].get("clip_text", {}).get("p50")}
    assert with_text == {"baseline"}


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_the_node_around_the_model_is_measured(document: dict[str, Any], transport: str) -> None:
    found = document["node"][transport]
    medians = {name: found[name]["p50"] for name in ("transport", "overhead", "latency", "tick_wait")}
    assert all(seconds > 0.0 for seconds in medians.values())
    assert medians["overhead"] < medians["latency"] + medians["transport"]
    assert medians["tick_wait"] < 1.2 / found["commands"]["target"]
    assert 15.0 < found["commands"]["rate"] < 21.0


def test_the_document_holds_what_is_needed_to_repeat_it(document: dict[str, Any], tiny: Path, saved: Path) -> None:
    assert document["checkpoint"] == str(tiny) and document["instruction tokens"] > 5
    assert document["untrained"] and document["conditions"]["versions"]["transformers"]
    assert json.loads(saved.read_text()) == document


def test_the_tables_of_the_documentation_are_made_from_it(document: dict[str, Any], saved: Path) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "run.py"
    made = subprocess.run([sys.executable, script, "--of", saved], capture_output=True, text=True, check=True).stdout
    assert made.count("|---") > 3 and "| p50 ms" in made and "| kosmos_text" in made
    bars = [line.split() for line in made.splitlines() if line.startswith("    ")]
    assert sum(int(words[-1]) for words in bars if len(words) == 3) == 8 * len(document["ways"])


def test_two_documents_are_compared(cli: Cli, document: dict[str, Any], saved: Path, tmp_path: Path) -> None:
    faster = json.loads(saved.read_text())
    del faster["ways"]["int8"]
    faster["ways"]["bf16"]["frame"]["p50"] = 0.5 * document["ways"]["bf16"]["frame"]["p50"]
    (tmp_path / "new.json").write_text(json.dumps(faster))
    outcome = cli("benchmark", "--compare", saved, tmp_path / "new.json")
    assert (outcome.code, outcome.err) == (0, "")
    rows = [line.split() for line in outcome.out.splitlines()]
    assert "same machine and versions" in outcome.out and "int8" not in outcome.out
    assert next(row[-1] for row in rows if row[:2] == ["bf16", "frame"]) == "0.50"
    assert next(row[-1] for row in rows if row[:2] == ["auto", "frame"]) == "1.00"


def test_without_a_checkpoint_it_tells_the_limit(cli: Cli) -> None:
    outcome = cli("benchmark", "--device", "cpu")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert "at least" in lines[1] or "at least" in lines[0]
    assert {"fp32", "bf16"} <= {line.split()[0] for line in lines if line.strip()}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.pth"], "nowhere.pth"),
        (["{tiny}", "--precision", "fp7"], "precision 'fp7' is not one of"),
        (["{tiny}", "--device", "cuda:7"], "device cuda:7"),
        (["--compare", "{tiny}", "{tiny}"], "cannot be read"),
        (["{tiny}", "--memory-budget-gb", "0.01"], "does not fit into"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(cli: Cli, tiny: Path, words: list[str], told: str) -> None:
    outcome = cli("benchmark", *(word.format(tiny=tiny) for word in words))
    assert (outcome.code, outcome.out) == (1, "")
    last = outcome.err.splitlines()[-1]
    assert last.startswith("error: ") and told in last


@pytest.mark.parametrize("content", ["[]", "{}", '{"ways": {}}', '{"ways": {"auto": 3}, "conditions": {}}'])
def test_what_is_no_document_is_not_compared(cli: Cli, saved: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "other.json").write_text(content)
    outcome = cli("benchmark", "--compare", tmp_path / "other.json", saved)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1


def test_too_few_rounds_are_a_usage_error(cli: Cli, tiny: Path) -> None:
    outcome = cli("benchmark", tiny, "--rounds", "3")
    assert outcome.code == 2 and "at least 8" in outcome.err
