"""A benchmark's document as tables: what they say, and that they fit a terminal."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from rich.console import Console

from simple_clip_lstm_ros.cli.benchmark_tables import (
    compare_documents,
    comparison_table,
    document_tables,
    limits_table,
    remarks,
)
from simple_clip_lstm_ros.errors import InputError


def way(precision: str, p50: float, error: float) -> dict[str, Any]:
    found = {"features": {"kosmos_text": error, "fused": error}, "actions": {"linear.x": error, "angular.z": None}}
    return {
        "precision": precision,
        "engine": "eager",
        "load": 2.0,
        "peak": 4_000_000_000,
        "gpu": None,
        "faults": 0,
        "seconds": [p50] * 32,
        "resident": 4_000_000_000,
        "anonymous": 500_000_000,
        "frame": {"p50": p50, "p90": 1.1 * p50, "p99": 1.2 * p50},
        "components": {name: {"p50": 0.4 * p50, "p90": p50, "p99": p50} for name in ("kosmos_vision", "head")},
        "limit": 0.5,
        "limits": {"kosmos_vision": 0.4, "head": 0.1},
        "share": 0.5 / p50,
        "others": 0.0,
        "cores": 1.9,
        "error": found,
        "late_error": found,
        "passes": error <= 0.05,
        "gate": 0.05,
    }


@pytest.fixture
def document() -> dict[str, Any]:
    spread = {"p50": 0.001, "p90": 0.002, "p99": 0.003, "max": 0.004}
    node = dict.fromkeys(("transport", "overhead", "latency", "tick_wait"), spread)
    node |= {"commands": {"rate": 20.0, "target": 20.0, "on_time": 0.998}, "first_action": 4.5}
    return {
        "conditions": {"device": "a CPU", "threads": 2, "versions": {"torch": "2.13.0"}, "date": "2026-01-01"},
        "rates": {"fp32": 2e11, "int8": 8e11},
        "bandwidth": 3.6e10,
        "checkpoint": "model.pth",
        "parameters": 1_859_579_651,
        "rounds": 32,
        "instruction tokens": 20,
        "untrained": False,
        "cut": "",
        "ways": {"baseline": way("fp32", 3.0, 0.0), "auto": way("bf16", 1.2, 0.01), "int8": way("int8", 0.75, 0.12)},
        "baseline": {"stored": "fp32"},
        "config": {"head": "mean"},
        "node": {"way": "bf16 eager", "drives": {"raw": node, "compressed": node}},
    }


def lines(table: Any, width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as shown:
        console.print(table)
    return [line.rstrip() for line in shown.get().splitlines()]


def cells(table: Any, name: str) -> list[str]:
    return next(line.removeprefix(name).split() for line in lines(table) if line.startswith(name))


def test_a_frame_is_told_beside_the_baseline_and_the_limit(document: dict[str, Any]) -> None:
    frame, _, _ = document_tables(document)
    assert lines(frame)[0].split() == ["whole", "frame", "baseline", "bf16", "eager", "int8", "eager"]
    assert cells(frame, "p50 ms") == ["3000.0", "1200.0", "750.0"]
    assert cells(frame, "share of the limit") == ["17%", "42%", "67%"]
    assert cells(frame, "times the baseline") == ["1.00", "2.50", "4.00"]
    assert cells(frame, "error of fused") == ["0.00%", "1.00%", "12.00%"]
    assert cells(frame, "error of linear.x") == cells(frame, "linear.x, last quarter") == ["0.00%", "1.00%", "12.00%"]
    assert cells(frame, "error of angular.z") == ["constant"] * 3


def test_components_and_node_are_told_apart(document: dict[str, Any]) -> None:
    _, components, node = document_tables(document)
    assert cells(components, "kosmos_vision") == ["1200.0", "(400.0)", "480.0", "(400.0)", "300.0", "(400.0)"]
    assert cells(node, "the node's overhead, p99") == ["3.0", "3.0"]
    assert cells(node, "configure to first action") == ["4500.0", "4500.0"]
    assert cells(node, "commands within 20 %") == ["99.8%", "99.8%"]


def test_it_fits_a_terminal_of_80_columns(document: dict[str, Any]) -> None:
    for table in document_tables(document):
        wide = [line for line in lines(table, width=200) if len(line) > 80]
        assert not wide


def test_without_baseline_and_node_their_rows_are_left_out(document: dict[str, Any]) -> None:
    alone = way("int8", 0.75, 0.12) | {"error": None, "late_error": None, "passes": None}
    frame, components = document_tables(document | {"ways": {"int8": alone}, "node": None})
    told = "\n".join(lines(frame) + lines(components))
    assert "baseline" not in told and "error" not in told
    assert remarks(document | {"ways": {"int8": alone}}) == []


def test_what_must_be_known_is_said(document: dict[str, Any]) -> None:
    document["ways"]["baseline"] |= {"others": 0.3, "faults": 7}
    document |= {"untrained": True, "cut": "kosmos_text has layers 0-5 only", "baseline": {"stored": "bf16"}}
    contention, faults, gate, stored, untrained, cut = remarks(document)
    assert "other processes used 30% of the CPUs" in contention
    assert faults.startswith("baseline: 7 pages were read from disk")
    assert gate == "int8: an action's error exceeds 5% of its standard deviation"
    assert "stored at bf16" in stored and "untrained" in untrained and "kosmos_text has layers 0-5 only" in cut


def test_few_frames_are_said_to_be_few(document: dict[str, Any]) -> None:
    (told,) = [line for line in remarks(document | {"rounds": 8}) if "few" in line]
    assert told.startswith("8 frames are few")
    for slow in document["ways"].values():
        slow["seconds"] = [10.0] * 8
    assert not [line for line in remarks(document | {"rounds": 8}) if "few" in line]


def test_the_limit_alone(document: dict[str, Any]) -> None:
    table = limits_table(document | {"profile": "seed", "limits": {"fp32": 1.87, "int8": 0.435}})
    assert cells(table, "fp32") == ["200", "G", "1870.0", "ms"]
    assert cells(table, "int8") == ["800", "G", "435.0", "ms"]


def test_a_comparison_says_whether_the_machines_are_the_same(document: dict[str, Any]) -> None:
    other = copy.deepcopy(document)
    other["conditions"]["date"] = "2026-02-02"
    assert "same machine and versions" in lines(comparison_table(compare_documents(document, other)))[0]
    other["conditions"]["threads"] = 1
    assert "other machines or versions" in " ".join(lines(comparison_table(compare_documents(document, other)))[:3])


def test_a_comparison_says_what_a_change_gained(document: dict[str, Any]) -> None:
    new = copy.deepcopy(document)
    new["ways"]["int8"] = way("int8", 0.375, 0.03) | {"engine": "packed", "passes": True}
    found = compare_documents(document, new)["ways"]["int8"]
    assert found["way"] == "int8 eager -> int8 packed"
    assert found["p50"]["frame"]["ratio"] == found["p50"]["head"]["ratio"] == 0.5
    assert found["error"] == {"old": None, "new": None}  # an action of theirs is constant


@pytest.mark.parametrize("name, other", [("parameters", 1), ("instruction tokens", 9), ("config", {"head": "last"})])
def test_a_comparison_of_other_work_is_refused(document: dict[str, Any], name: str, other: Any) -> None:
    with pytest.raises(InputError, match=f"not of the same work.*{name}"):
        compare_documents(document, document | {name: other})


def test_a_comparison_of_nothing_in_common_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="nothing in common"):
        compare_documents(document, document | {"ways": {"fp16": way("fp16", 1.0, 0.0)}})
