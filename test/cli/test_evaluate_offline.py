"""simple_clip_lstm evaluate --episodes: the same figures for people and for programs, without any ROS."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py")

from simple_clip_lstm_ros.checkpoint import load_policy
from simple_clip_lstm_ros.data.hdf5 import EpisodeWriter

Cli = Callable[..., Any]
INSTRUCTION = "go to the cup"


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 24, 32, 3), np.uint8)


def velocities(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two drives that state everything, one on a known task; one without motion, and a file that is none."""
    for name, count in (("1box_hori_left_1", 5), ("drive", 4)):
        with EpisodeWriter(tmp_path / f"{name}.h5", language_instruction=INSTRUCTION) as writer:
            for index, (image, velocity) in enumerate(zip(images(count), velocities(count), strict=True)):
                writer.add(image, velocity, index)
    with EpisodeWriter(tmp_path / "still.h5", language_instruction=INSTRUCTION) as writer:
        for index, image in enumerate(images(3)):
            writer.add(image, (0, 0, 0), index)
    (tmp_path / "broken.h5").write_bytes(b"no episode")
    return tmp_path


def _refusal(outcome: Any) -> str:
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    return outcome.err


def test_json_is_one_document_with_all_figures(cli: Cli, tiny: Path, folder: Path) -> None:
    outcome = cli("evaluate", tiny, "--episodes", folder, "--device", "cpu", "--precision", "fp32", "--json")
    assert (outcome.code, outcome.said.count("\n")) == (0, 1) and "untrained" in outcome.said
    found = json.loads(outcome.out)
    assert found["untrained"] and found["moving above"] == 0.05 and "constant" in found["verdict"]
    assert [*found["scenarios"]] == ["1box_hori_left", "other"]
    assert [found["total"][name] for name in ("episodes", "frames")] == [2, 9]
    assert found["left out"][str(folder / "still.h5")] == "all actions are zero"
    assert "is not an HDF5 file" in found["left out"][str(folder / "broken.h5")]
    policy = load_policy(tiny, precision="fp32")
    actions = np.array([policy.step(frame, INSTRUCTION).values for frame in images(4)])
    errors = np.abs(actions - velocities(4)[:, [0, 2]]).mean(axis=0)
    assert policy.config.action_axes == ("linear.x", "angular.z")
    told = found["scenarios"]["other"]["axes"]
    assert [told[axis]["error"] for axis in policy.config.action_axes] == pytest.approx(errors, abs=1e-5)


def test_the_text_says_the_same(cli: Cli, tiny: Path, folder: Path) -> None:
    options = ("evaluate", tiny, "--episodes", folder, "--device", "cpu", "--precision", "fp32")
    outcome, told = cli(*options), json.loads(cli(*options, "--json").out)
    assert outcome.code == 0
    overall = told["total"]["overall"]
    shown = [f"{overall[name]:.3f}" for name in ("error", "mean_error", "median_error")]
    rows = re.findall(r"^ *all axes +(.*?) *$", outcome.out, re.MULTILINE)
    assert rows[0].split() == [*shown, f"{overall['direction']:.0%}"] and len(rows) == 3
    assert re.search(r"^1box_hori_left: 1, 5 frames +linear\.x ", outcome.out, re.MULTILINE)
    assert f"left out: {folder / 'still.h5'}: all actions are zero\n" in outcome.out
    assert f"left out: {folder / 'broken.h5'} is not an HDF5 file" in outcome.out
    assert outcome.out.splitlines()[-1] == told["verdict"]


def test_the_original_s_episodes_take_factors(
    cli: Cli, tiny: Path, tmp_path: Path, originals: list[dict], write_original: Callable
) -> None:
    file = tmp_path / "original.h5"
    write_original(file, originals[0])
    assert f"{file}: " in (told := _refusal(cli("evaluate", tiny, "--episodes", file))) and "--action-scale" in told
    done = cli(
        "evaluate", tiny, "--episodes", file, "--action-scale", "0.4", "0.4", "-1.5", "--device", "cpu", "--json"
    )
    recorded = np.array(originals[0]["actions"])[:, 0] * 0.4
    assert done.code == 0
    told = json.loads(done.out)["total"]["axes"]["linear.x"]["median_error"]
    assert told == pytest.approx(np.abs(recorded - np.median(recorded)).mean(), abs=1e-6)


def test_an_episode_without_instruction_takes_the_option_s(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    with EpisodeWriter(tmp_path / "mute.h5") as writer:
        for index, image in enumerate(images(3)):
            writer.add(image, velocities(3)[index], index)
    options = ("evaluate", tiny, "--episodes", tmp_path, "--device", "cpu", "--json")
    told = _refusal(cli(*options))
    assert f"{tmp_path / 'mute.h5'}: " in told and "--instruction" in told
    assert cli(*options, "--instruction", "go").code == 0


@pytest.mark.parametrize(
    "words", [("--plot", "x.png"), ("--layouts", "4"), ("--first-seed", "1"), ("--conditions", "all")]
)
def test_options_of_worlds_are_refused_for_episodes(cli: Cli, tiny: Path, folder: Path, words: tuple[str, ...]) -> None:
    told = _refusal(cli("evaluate", tiny, "--episodes", folder, *words))
    assert f"{words[0]} is of drives in worlds" in told


@pytest.mark.parametrize("words", [("--instruction", "go"), ("--action-scale", "1", "1", "1")])
def test_options_of_episodes_need_episodes(cli: Cli, tiny: Path, words: tuple[str, ...]) -> None:
    assert f"{words[0]} is of episodes: name --episodes DIR" in _refusal(cli("evaluate", tiny, *words))


@pytest.mark.parametrize("words", [("1", "1"), ("1", "1", "many"), ("1", "nan", "1"), ("1", "1", "1e9")])
def test_factors_are_three_numbers(cli: Cli, tiny: Path, folder: Path, words: tuple[str, ...]) -> None:
    outcome = cli("evaluate", tiny, "--episodes", folder, "--action-scale", *words)
    assert (outcome.code, outcome.out) == (2, "") and "--action-scale" in outcome.err


def test_no_episode_is_refused_before_the_checkpoint_is_read(cli: Cli, tmp_path: Path) -> None:
    assert "holds no .h5 file" in _refusal(cli("evaluate", tmp_path / "no.pth", "--episodes", tmp_path))
