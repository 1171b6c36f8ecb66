"""`episodes`: the same figures for people and for programs; episodes from a bag."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py")

from simple_clip_lstm_ros.data.hdf5 import EpisodeWriter

Cli = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, originals: list[dict], write_original: Callable) -> Path:
    for original in originals:
        write_original(tmp_path / f"{original['attrs']['episode_name']}.h5", original)
    (tmp_path / "broken.h5").write_bytes(b"no episode")
    return tmp_path


def _refusal(outcome: Any) -> str:
    assert outcome.code == 1
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    return outcome.err


def test_json_is_one_document_with_all_figures(cli: Cli, folder: Path) -> None:
    outcome = cli("episodes", folder, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert (found["episodes"], found["frames"]) == (3, 55)
    assert found["scenarios"] == {"1box_hori_left": 1, "1box_hori_right": 1, "other": 1}
    assert found["axes"]["linear_x"]["max"] == pytest.approx(1.15)
    assert set(found["axes"]["linear_y"]) == {"mean", "std", "min", "max", "zeros", "mean_error", "median_error"}
    assert found["degenerate"] == {str(folder / "episode_20250808_040913.h5"): ["all actions are zero"]}
    assert list(found["unreadable"]) == [str(folder / "broken.h5")]


def test_the_text_says_the_same(cli: Cli, folder: Path) -> None:
    outcome = cli("episodes", folder)
    assert (outcome.code, outcome.err) == (0, "")
    told = json.loads(cli("episodes", folder, "--json").out)
    assert "3 episodes, 55 frames, 79.7 s (0.69 a second); action units: not stated (3)" in outcome.out
    assert re.search(r"^1box_hori_left +1$", outcome.out, re.MULTILINE)
    for name, axis in told["axes"].items():
        (row,) = re.findall(rf"^{name} +(.*)$", outcome.out, re.MULTILINE)
        names = ("mean", "std", "min", "max", "zeros", "mean_error", "median_error")
        shown = [float(cell.rstrip("%")) / (100 if "%" in cell else 1) for cell in row.split()]
        assert shown == pytest.approx([axis[name] for name in names], abs=0.006)
    assert f"degenerate: {folder / 'episode_20250808_040913.h5'}: all actions are zero\n" in outcome.out
    assert f"unreadable: {folder / 'broken.h5'} is not an HDF5 file" in outcome.out


def test_one_file_can_be_named(cli: Cli, folder: Path) -> None:
    outcome = cli("episodes", next(folder.glob("*left*")), "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["frames"] == 18


def test_mixed_units_are_warned_of(cli: Cli, folder: Path) -> None:
    assert "mix them" not in cli("episodes", folder).out
    with EpisodeWriter(folder / "ours.h5") as writer:
        for index in range(2):
            writer.add(np.full((4, 6, 3), index, np.uint8), (0.1 * index, 0, 0), index)
    out = cli("episodes", folder).out
    assert "action units: not stated (3), m/s, m/s, rad/s (1)" in out
    assert "these figures mix them" in out


def test_nothing_readable_is_a_failure_that_says_why(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "broken.h5").write_bytes(b"no episode")
    outcome = cli("episodes", tmp_path)
    assert "none of 1 files could be read" in _refusal(outcome)
    assert outcome.out == f"unreadable: {tmp_path / 'broken.h5'} is not an HDF5 file: " + (
        "name files of episodes, or a folder of them\n"
    )
    outcome = cli("episodes", tmp_path, "--json")
    assert "none of 1 files could be read" in _refusal(outcome)
    assert json.loads(outcome.out)["axes"] == {}


@pytest.mark.parametrize(("name", "why"), [(".", "holds no .h5 file"), ("nowhere", "does not exist")])
def test_an_empty_folder_is_refused(cli: Cli, tmp_path: Path, name: str, why: str) -> None:
    outcome = cli("episodes", tmp_path / name)
    assert why in _refusal(outcome)
    assert outcome.out == ""


@pytest.fixture
def drive(tmp_path: Path) -> tuple[Path, list[str]]:
    """A bag of two instructions, and the options that name its topics."""
    pytest.importorskip("rosbags")
    sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
    import bag

    images = [(1 + n / 10, bag.IMAGE, bag.image(bag.picture(n))) for n in range(20)]
    told = [(0.5, bag.INSTRUCTION, bag.text("go left")), (1.95, bag.INSTRUCTION, bag.text("go right"))]
    bag.write_bag(tmp_path / "drive", [(0.0, bag.COMMAND, bag.twist(0.1)), *told, *images])
    topics = ["--image-topic", bag.IMAGE, "--command-topic", bag.COMMAND, "--instruction-topic", bag.INSTRUCTION]
    return tmp_path / "drive", topics


def test_episodes_of_a_bag_are_written_and_named(cli: Cli, tmp_path: Path, drive: tuple[Path, list[str]]) -> None:
    bag, topics = drive
    files = [tmp_path / "drive_001.h5", tmp_path / "drive_002.h5"]
    outcome = cli("episodes", tmp_path, "--from-bag", bag, *topics)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [str(file) for file in files]
    summary = json.loads(cli("episodes", tmp_path, "--json").out)
    assert (summary["episodes"], summary["frames"], summary["units"]) == (2, 20, {"m/s, m/s, rad/s": 2})
    assert f"{files[0]} exists; remove it" in _refusal(cli("episodes", tmp_path, "--from-bag", bag, *topics))


def test_episodes_of_a_bag_at_a_rate_as_json(cli: Cli, tmp_path: Path, drive: tuple[Path, list[str]]) -> None:
    bag, topics = drive
    outcome = cli("episodes", tmp_path, "--from-bag", bag, *topics, "--rate", "2", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert found == {"bag": str(bag), "episodes": [str(tmp_path / f"drive_00{n}.h5") for n in (1, 2)]}
    assert json.loads(cli("episodes", tmp_path, "--json").out)["frames"] == 4


@pytest.mark.parametrize(
    "options", [["--image-topic", "/a"], ["--command-topic", "/a"], ["--instruction-topic", "/a"], ["--rate", "5"]]
)
def test_options_of_a_bag_need_a_bag(cli: Cli, folder: Path, options: list[str]) -> None:
    assert "name it with --from-bag" in _refusal(cli("episodes", folder, *options))


@pytest.mark.parametrize("options", [[], ["--image-topic", "/a"], ["--command-topic", "/a"]])
def test_a_bag_needs_its_topics(cli: Cli, folder: Path, options: list[str]) -> None:
    assert "--from-bag needs --image-topic and --command-topic" in _refusal(
        cli("episodes", folder, "--from-bag", folder, *options)
    )


@pytest.mark.parametrize("arguments", [[], ["x", "y"], ["x", "--rate", "0"], ["x", "--rate", "many"]])
def test_wrong_usage_exits_2(cli: Cli, arguments: list[str]) -> None:
    outcome = cli("episodes", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("usage: simple_clip_lstm episodes")
