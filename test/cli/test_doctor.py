"""The doctor as a command: of a machine, of a checkpoint, and what its exit code says."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.cli.doctor import add_arguments
from simple_clip_lstm_ros.cli.options import survey_from_args
from simple_clip_lstm_ros.doctor.finding import Finding, ProbeError, Verdict, run_json
from simple_clip_lstm_ros.doctor.resources import check_checkpoint


def of_model(checkpoint: Path | str, *words: str) -> dict[str, Finding]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args([str(checkpoint), *words])
    findings = check_checkpoint(
        args.checkpoint,
        lambda: survey_from_args(args),
        lambda candidates: candidates.choose(args.precision, args.engine),
        lambda done, total: None,
    )
    return {each.check: each for each in findings}


def test_a_bundle_that_is_fit() -> None:
    found = of_model("builtin:tiny")
    assert {each.verdict for each in found.values()} == {Verdict.OK}
    assert set(found) == {"checksums", "checkpoint", "memory for it", "trained", "recipe"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return shutil.copytree(resolve_path("builtin:tiny"), tmp_path / "bundle")


def cut_off(bundle: Path) -> None:
    (weights,) = bundle.glob("*.safetensors")
    os.truncate(weights, weights.stat().st_size - 1000)


@pytest.mark.parametrize(
    "harm, options, check, words",
    [
        (cut_off, [], "checksums", "model.safetensors (its checksum differs)"),
        (lambda bundle: shutil.rmtree(bundle / "processors"), [], "checksums", "(missing)"),
        (shutil.rmtree, [], "checkpoint", "does not exist"),
        (None, ["--memory-budget-gb", "0.1"], "memory for it", "does not fit into 0.1 GB"),
        (None, ["--processors", "/nowhere"], "checkpoint", "no processors folder at /nowhere"),
    ],
    ids=["cut off", "no processors", "not there", "too little memory", "other processors"],
)
def test_it_finds_a_checkpoint_that_would_not_load(
    bundle: Path, harm: Callable[[Path], object] | None, options: list[str], check: str, words: str
) -> None:
    if harm:
        harm(bundle)
    found = of_model(bundle, *options)[check]
    assert found.verdict is Verdict.ERROR and words in found.says and found.remedy


def test_random_weights_are_not_fit_to_drive_and_a_guessed_recipe_is_doubtful(tiny: Path) -> None:
    found = of_model(tiny)
    assert found["trained"].verdict is Verdict.ERROR
    assert found["checksums"].verdict is Verdict.SKIPPED


Cli = Callable[..., Any]


def doctor(outcome: Any, code: int) -> dict[str, dict[str, str]]:
    """Findings by the check."""
    assert outcome.code == code, outcome.err
    document = json.loads(outcome.out)
    assert document["safe"] == (code == 0)
    assert ("checks failed" in outcome.err) == (code == 1)
    return {each["check"]: each for each in document["findings"]}


@pytest.mark.ros
def test_a_machine_and_a_model_that_are_fit(cli: Cli) -> None:
    profile = Path(__file__).parents[2] / "config" / "fastdds.xml"
    outcome = cli("doctor", "builtin:tiny", "--json", FASTRTPS_DEFAULT_PROFILES_FILE=str(profile))
    found = doctor(outcome, 0)
    assert {found[check]["verdict"] for check in ("ROS", "checksums", "memory for it", "images arrive")} == {"OK"}
    assert found["images arrive"]["says"].endswith("of 60 raw images of 640 x 480 in 2 s")


@pytest.mark.ros
def test_a_middleware_that_is_not_installed(cli: Cli) -> None:
    found = doctor(cli("doctor", "--json", RMW_IMPLEMENTATION="rmw_cyclonedds_cpp"), 1)
    assert "rmw_cyclonedds_cpp: Expected RMW" in found["ROS"]["says"]
    assert "rmw-cyclonedds-cpp" in found["ROS"]["remedy"]
    assert found["images arrive"]["verdict"] == "SKIPPED"


@pytest.mark.ros
def test_a_camera_that_does_not_publish_here(cli: Cli) -> None:
    outcome = cli("doctor", "--image-topic", "/nobody/image_raw")
    assert outcome.code == 1
    assert "ERROR   camera /nobody/image_raw: no image within 5 s\n        -> start the camera" in outcome.out
    assert (
        outcome.err.startswith("error: ") and "camera /nobody/image_raw" in outcome.err and outcome.err.count("\n") == 1
    )


@pytest.mark.parametrize(
    "words, told",
    [
        (["-c", "import os; os.abort()"], r"it crashed \(SIGABRT\)"),
        (["-c", "raise SystemExit('no such thing')"], "no such thing"),
        (["-c", "import sys; sys.exit(3)"], "exit code 3"),
        (["-c", "raise ValueError('too old\\nTry another')"], "ValueError: too old$"),
    ],
)
def test_what_crashes_takes_nobody_along(words: list[str], told: str) -> None:
    with pytest.raises(ProbeError, match=told):
        run_json(*words)
