"""benchmark as a command: what it measures, writes, compares and refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.cli import benchmark
from simple_clip_lstm_ros.cli.benchmark_tables import read_benchmark
from simple_clip_lstm_ros.cli.main import main
from simple_clip_lstm_ros.errors import SimpleClipLstmError

Cli = Callable[..., Any]


def measured(test: Any) -> Any:
    """Mark a test of the document, for which three precisions and a node are measured."""
    for mark in (pytest.mark.full, pytest.mark.serial, pytest.mark.ros, pytest.mark.int8):
        test = mark(test)
    return test


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
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@measured
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


@measured
def test_errors_are_against_the_baseline_on_the_same_photographs(document: dict[str, Any]) -> None:
    errors = {name: way["error"] for name, way in document["ways"].items()}
    assert set(errors["auto"]["actions"].values()) == {0.0} and document["ways"]["auto"]["passes"]
    assert 0.0 < max(errors["bf16"]["features"].values()) < 0.03
    assert max(errors["bf16"]["features"].values()) < max(errors["int8"]["features"].values()) < 0.1


@measured
def test_only_the_baseline_reads_the_text_for_each_frame(document: dict[str, Any]) -> None:
    with_text = {name for name, way in document["ways"].items() if way["components"].get("clip_text", {}).get("p50")}
    assert with_text == {"baseline"}


@measured
@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_the_node_around_the_model_is_measured(document: dict[str, Any], transport: str) -> None:
    found = document["node"]["drives"][transport]
    assert document["node"]["way"] == "auto" and 0.0 < found["first_action"] < 30.0
    medians = {name: found[name]["p50"] for name in ("transport", "overhead", "latency", "tick_wait")}
    assert all(seconds > 0.0 for seconds in medians.values())
    assert medians["overhead"] < medians["latency"] + medians["transport"]
    assert medians["tick_wait"] < 1.2 / found["commands"]["target"]
    # Of a schedule of 20 Hz each command is late by less than a period: eleven intervals and more, which eight images
    # at 10 Hz last for, take ten periods at the least.
    assert 15.0 < found["commands"]["rate"] < 22.0


@measured
def test_the_document_holds_what_is_needed_to_repeat_it(document: dict[str, Any], tiny: Path, saved: Path) -> None:
    assert document["checkpoint"] == str(tiny) and document["instruction tokens"] > 5
    assert document["untrained"] and document["conditions"]["versions"]["transformers"]
    assert document["options"]["precision"] == ["auto", "bf16", "int8"] and document["config"]["features"]
    assert json.loads(saved.read_text()) == document


@measured
def test_the_tables_of_the_documentation_are_made_from_it(document: dict[str, Any], saved: Path) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "run.py"
    made = subprocess.run([sys.executable, script, "--of", saved], capture_output=True, text=True, check=True).stdout
    assert made.count("|---") > 3 and "| p50 ms" in made and "| kosmos_text" in made
    bars = [line.split() for line in made.splitlines() if line.startswith("    ")]
    assert sum(int(words[-1]) for words in bars if len(words) == 3) == 8 * len(document["ways"])


@pytest.fixture
def changed(document: dict[str, Any], saved: Path, tmp_path: Path) -> Callable[..., Path]:
    """The saved document with some of it changed by `change`."""

    def write(change: Callable[[dict[str, Any]], object]) -> Path:
        other = json.loads(saved.read_text())
        change(other)
        path = tmp_path / "new.json"
        path.write_text(json.dumps(other))
        return path

    return write


@measured
def test_two_documents_are_compared(cli: Cli, document: dict[str, Any], saved: Path, changed: Any) -> None:
    def change(other: dict[str, Any]) -> None:
        del other["ways"]["int8"]
        other["ways"]["bf16"]["frame"]["p50"] *= 0.5
        other["ways"]["auto"] |= {"engine": "packed", "others": 0.5}

    new = changed(change)
    outcome = cli("benchmark", "--compare", saved, new)
    assert (outcome.code, outcome.err) == (0, "")
    rows = [line.split() for line in outcome.out.splitlines()]
    assert "same machine and versions" in outcome.out
    bf16 = next(row for row in rows if row[:3] == ["bf16", document["ways"]["bf16"]["engine"], "frame"])
    worst = max(document["ways"]["bf16"]["error"]["actions"].values())
    assert bf16[5:] == ["0.50", f"{worst:.2%}", f"{worst:.2%}"]
    assert next(row for row in rows if row[:2] == ["fp32", "eager"])[2:6] == ["->", "fp32", "packed", "frame"]
    assert any(line.startswith("new: auto: other processes used 50%") for line in outcome.out.splitlines())
    found = json.loads(cli("benchmark", "--compare", saved, new, "--json").out)
    assert found["ways"]["bf16"]["p50"]["frame"]["ratio"] == pytest.approx(0.5) and "int8" not in found["ways"]


@measured
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda other: other.update(parameters=7), "other parameters: "),
        (lambda other: other["config"].update(image_size=168), "other config$"),
        (lambda other: other.update(format=0), "format 0.*1.*measure again$"),
        (lambda other: other.update(ways={}), "tells the machine's limits alone"),
        (lambda other: other.update(ways={"fp7": 1}), "nothing in common: baseline, auto, bf16, int8 and fp7$"),
    ],
)
def test_documents_of_other_work_or_other_formats_are_refused(
    cli: Cli, saved: Path, changed: Any, change: Any, told: str
) -> None:
    outcome = cli("benchmark", "--compare", saved, changed(change))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("\n") == 1 and re.search(told, outcome.err.strip())


@pytest.mark.full
@pytest.mark.int8
def test_an_int8_bundle_is_measured_against_its_source(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    convert(tiny, bundle := tmp_path / "int8", precision="int8")
    refused = cli("benchmark", bundle)
    assert refused.code == 1 and "--baseline, or take --no-baseline" in refused.err
    outcome = cli("benchmark", bundle, "--baseline", tiny, "--rounds", "8", "--no-node", "--json")
    assert outcome.code == 0, outcome.err
    ways = json.loads(outcome.out)["ways"]
    assert {name: way["precision"] for name, way in ways.items()} == {"baseline": "fp32", "auto": "int8"}
    assert 0.0 < ways["auto"]["error"]["features"]["fused"] < 0.1


@pytest.mark.slow
def test_a_node_that_fails_loses_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, caplog: Any
) -> None:
    def failing(*_: object) -> None:
        raise SimpleClipLstmError("inference_node ended")

    monkeypatch.setattr(benchmark, "benchmark_node", failing)
    words = ("benchmark", tiny, "--no-baseline", "--rounds", "8", "--save", tmp_path / "figures.json")
    assert main([str(word) for word in words]) == 0
    assert "inference_node ended" in caplog.text
    assert "p50 ms" in capsys.readouterr().out
    assert read_benchmark(tmp_path / "figures.json")["node"] is None


@pytest.mark.slow
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
        (["{tiny}", "--precision", "fp7"], "precision 'fp7'"),
        (["{tiny}", "--device", "cuda:7"], "device cuda:7"),
        (["--compare", "{tiny}", "{tiny}"], "cannot be read"),
        (["{tiny}", "--memory-budget-gb", "0.01"], "does not fit into"),
        (["{tiny}", "--save", "/nowhere/figures.json"], "/nowhere/figures.json"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(cli: Cli, tiny: Path, words: list[str], told: str) -> None:
    outcome = cli("benchmark", *(word.format(tiny=tiny) for word in words))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1 and told in outcome.err


@pytest.mark.parametrize("content", ["[]", "{}", '{"ways": {}}', '{"ways": {"auto": 3}, "conditions": {}}'])
def test_what_is_no_document_is_not_compared(cli: Cli, saved: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "other.json").write_text(content)
    outcome = cli("benchmark", "--compare", tmp_path / "other.json", saved)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1


def test_too_few_rounds_are_a_usage_error(cli: Cli, tiny: Path) -> None:
    outcome = cli("benchmark", tiny, "--rounds", "3")
    assert outcome.code == 2 and "at least 8" in outcome.err
