"""The demo, run as a user runs it, with its output in a pipe."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from PIL import Image
from ros_domain import own_domain
from warm_python import WarmPython

from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.cli.main import main

ROOT = Path(__file__).parents[2]


Demo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def demo(warm_python: WarmPython) -> Demo:
    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        words = ["-m", "simple_clip_lstm_ros.cli.main", "demo", *arguments]
        pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        # A domain of its own, so that another demo on this machine is not seen.
        with own_domain() as domain:
            own = os.environ | {"ROS_DOMAIN_ID": str(domain)} | environment
            process = warm_python.start(words, limit=120, cwd=ROOT, env=own, text=True, **pipes)
            out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    return run


def numbers(pattern: str, lines: list[str]) -> list[float]:
    return [float(re.search(pattern, line)[1]) for line in lines]


@pytest.mark.ros
def test_it_stands_without_an_instruction_and_with_one_it_drives_and_is_shown(
    demo: Demo, tiny: Path, tmp_path: Path
) -> None:
    """A random model that drives ahead, whatever it is told: into the box."""
    ahead = {"action_scale": [0.1, 0.05], "action_offset": [0.2, 0.0]}
    convert(tiny, tmp_path / "ahead", config=ahead)
    begin = time.monotonic()
    out = tmp_path / "new" / "out"
    ran = demo("--checkpoint", tmp_path / "ahead", "--then", "go to the door", "--out", out)
    assert ran.returncode == 0 and "Traceback" not in ran.stderr, ran.stderr
    assert time.monotonic() - begin < 60.0

    lines = ran.stdout.splitlines()
    before = [line for line in lines if line.startswith("no instruction yet") and "NO_INSTRUCTION" in line]
    first = [line for line in lines if line.startswith('instruction: "go around the left side of the box')]
    then = [line for line in lines if line.startswith('instruction: "go to the door"')]
    driving = [line for line in first + then if "MOVING" in line]
    assert len(before) >= 2 and len(first) >= 2 and len(then) >= 1 and len(driving) >= 3, ran.stdout
    for speed in (r"command (\S+) m/s", r"command \S+ m/s, (\S+) rad/s"):
        assert not any(numbers(speed, before))
        assert any(numbers(speed, driving))
    assert len(set(numbers(r"action (\S+) m/s", driving))) >= 3, "it follows the images"
    located = [line for line in before if "robot x" in line]  # at first it may not have told yet
    assert set(numbers(r"robot x (\S+) m", located)) == {0.0}
    assert max(numbers(r"robot x (\S+) m", first)) < 1.1 and min(numbers(r"robot x (\S+) m", then)) > 0.7
    assert numbers(r"cup (\S+) m away", driving) == sorted(numbers(r"cup (\S+) m away", driving), reverse=True)
    # A busy machine may spoil some lines of them.
    assert 18.0 <= median(numbers(r"commands (\S+) Hz", driving)) <= 22.0
    assert 3.5 <= median(numbers(r"inference (\S+) Hz", driving)) <= 6.0, "as many as there are images"
    assert 0.0 < median(numbers(r"latency (\d+) ms", driving)) < 100.0
    assert 0.0 <= median(numbers(r"image age (-?\d+) ms", driving)) < 400.0
    assert any("random" in line for line in lines[:3])
    assert re.match(r"The robot touched something after \d+\.\d s, and the cup was \d\.\d m away", lines[-1])
    assert f"{out}/trajectory.png" in lines[-1] and f"{out}/drive.gif" in lines[-1]
    assert Image.open(out / "trajectory.png").size[0] > 500
    assert 20 < Image.open(out / "drive.gif").n_frames < 100


@pytest.mark.ros
@pytest.mark.full
def test_the_model_that_ships_goes_where_it_is_told_and_where_it_is_told_half_way(demo: Demo, tmp_path: Path) -> None:
    to_left = demo("--out", tmp_path / "left")
    to_right = demo("--then", "go around the right side of the box and reach the cup", "--out", tmp_path / "right")
    for ran, side in ((to_left, "left"), (to_right, "right")):
        assert ran.returncode == 0, ran.stderr
        last = ran.stdout.splitlines()[-1]
        assert re.match(rf"The robot reached the cup in \d+\.\d s, passed on the {side}, touched nothing", last), last
    assert 'instruction: "go around the right side' not in to_left.stdout


@pytest.mark.ros
def test_a_robot_that_does_not_move_at_all_is_a_failure_with_the_reason(demo: Demo, tiny: Path, tmp_path: Path) -> None:
    ran = demo("--checkpoint", tiny, "--instruction", "<image> go", "--seconds", 2, "--out", tmp_path)
    assert ran.returncode == 1
    assert re.fullmatch(r"error: the robot did not move on the instruction: INSTRUCTION_REFUSED: .*\n", ran.stderr)
    assert not list(tmp_path.glob("*.gif"))


@pytest.mark.ros
@pytest.mark.parametrize(
    "words, told",
    [
        (["--seconds", "0"], "--seconds above 0 and at most 60"),
        (["--seconds", "nan"], "--seconds above 0 and at most 60"),
        (["--seed", "-1"], "--seed must be zero or more"),
        (["--checkpoint", "builtin:none"], "builtin:none: the package has"),
        (["--checkpoint", "tiny.pth", "--out", "/dev/null/demo"], "/dev/null/demo cannot be written: "),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert main(["demo", *words]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and told in captured.err and not captured.out


def test_without_ros_it_says_what_is_missing_in_one_line(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "rclpy.py").write_text("raise ImportError(\"No module named 'rclpy'\")\n")
    ran = demo(PYTHONPATH=str(tmp_path))
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("error: ROS 2 is missing here (No module named 'rclpy')")
    assert "make demo" in ran.stderr
