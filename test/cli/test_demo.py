"""The demo, run as a user runs it, with its output in a pipe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

pytestmark = pytest.mark.ros
ROOT = Path(__file__).parents[2]


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main", "demo", *arguments]
    return subprocess.run(
        ["timeout", "-s", "KILL", "120", *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def numbers(pattern: str, lines: list[str]) -> list[float]:
    return [float(re.search(pattern, line)[1]) for line in lines]


def test_the_robot_stands_without_an_instruction_and_moves_with_one() -> None:
    begin = time.monotonic()
    # A domain of its own, so that another demo on this machine is not seen.
    ran = demo("--instruction", "go to the door", ROS_DOMAIN_ID=str(1 + os.getpid() % 101))
    seconds = time.monotonic() - begin
    assert ran.returncode == 0, ran.stderr
    assert seconds < 60.0

    lines = ran.stdout.splitlines()
    before = [line for line in lines if line.startswith("no instruction yet") and "NO_INSTRUCTION" in line]
    after = [line for line in lines if line.startswith('instruction: "go to the door"') and "MOVING" in line]
    assert len(before) >= 3 and len(after) >= 4, ran.stdout
    for speed in (r"command (\S+) m/s", r"command \S+ m/s, (\S+) rad/s"):
        assert not any(numbers(speed, before))
        assert any(numbers(speed, after))
    # The command may rest at a limit; the action behind it does not.
    assert len(set(numbers(r"action (\S+) m/s", after))) >= 3, "it follows the images"
    # A busy machine may spoil some lines of them.
    assert 18.0 <= median(numbers(r"commands (\S+) Hz", after)) <= 22.0
    assert 8.0 <= median(numbers(r"inference (\S+) Hz", after)) <= 11.0
    assert 0.0 < median(numbers(r"latency (\d+) ms", after)) < 100.0
    assert 0.0 <= median(numbers(r"image age (-?\d+) ms", after)) < 300.0
    assert "Traceback" not in ran.stderr


def test_without_ros_it_says_what_is_missing_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "rclpy.py").write_text("raise ImportError(\"No module named 'rclpy'\")\n")
    ran = demo(PYTHONPATH=str(tmp_path))
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("error: ROS 2 is missing here (No module named 'rclpy')")
    assert "make demo" in ran.stderr
