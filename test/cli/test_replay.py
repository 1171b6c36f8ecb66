"""simple_clip_lstm replay: tables, files, JSON, and recordings that cannot be replayed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rosbags")

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))  # where the bags are made
from bag import EPOCH, compressed, text, twist, write_bag

from simple_clip_lstm_ros.policy.sample_images import sample_crops


@pytest.fixture
def bag(tmp_path):
    happened = [(0.0, "/instruction", text("go left"))]
    for number, photograph in enumerate(sample_crops(20)):
        happened += [
            (number / 10, "/image_raw/compressed", compressed(photograph, EPOCH + number / 10)),
            (number / 10, "/cmd_vel", twist(0.1)),
        ]
    return write_bag(tmp_path / "bag", happened)


def test_tables_and_files(cli, tiny, bag, tmp_path):
    done = cli("replay", bag, "--checkpoint", tiny, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "1.9 s, 20 steps on 20 images; compared with /cmd_vel" in done.out
    assert any(line.startswith("MOVING") for line in done.out.splitlines())
    assert any(line.startswith("linear.x") for line in done.out.splitlines())
    assert "times as fast as it was" in done.err and "untrained" in done.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"commands.png", "frames.png", "drive.mp4", "replay.json"}


def test_twice_is_the_same_to_the_bit_and_another_instruction_is_not(cli, tiny, bag, tmp_path):
    told = []
    for words in ((), (), ("--instruction", "go right")):
        done = cli(
            "replay", bag, "--checkpoint", tiny, "--out", tmp_path / "out", "--precision", "fp32", "--json", *words
        )
        assert done.code == 0, done.err
        assert json.loads(done.out) == json.loads((tmp_path / "out" / "replay.json").read_text())
        told.append(done.out)
    assert told[0] == told[1]
    first, other = json.loads(told[0]), json.loads(told[2])
    assert first["differences"] != other["differences"] and other["instruction"] == "go right"


def test_limits_are_those_of_the_parameter_file(cli, tiny, bag, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("/**: {ros__parameters: {max_velocity: [0.01, 0.0, 0.01], min_velocity: [0.0, 0.0, -0.01]}}")
    done = cli("replay", bag, "--checkpoint", tiny, "--out", tmp_path / "out", "--params", own, "--json")
    assert done.code == 0, done.err
    assert all(abs(value) <= 0.01 for each in json.loads(done.out)["largest"] for value in each["replayed"])


@pytest.mark.parametrize(
    ("recording", "words", "why"),
    [
        ("nowhere", [], "does not exist"),
        (__file__, [], "cannot be read as a bag"),
        ("bag", ["--image-topic", "/third"], "no topic /third"),
        ("bag", ["--latency", "-1"], "latency must be"),
        ("bag", ["--params", "/nowhere.yaml"], "cannot be read"),
        ("bag", ["--out", "/proc/nowhere"], "cannot be written"),
        ("mute", [], "no instruction in it: give one with --instruction"),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_one_line(cli, tiny, bag, tmp_path, recording, words, why):
    photograph = next(sample_crops(1))
    write_bag(tmp_path / "mute", [(0.0, "/image_raw/compressed", compressed(photograph))])
    path = {"bag": bag, "mute": tmp_path / "mute"}.get(recording, recording)
    done = cli("replay", path, "--checkpoint", tiny, *words)
    assert done.code == 1 and not done.out
    assert why in done.err.strip().splitlines()[-1] and done.err.count("error:") == 1


@pytest.mark.slow
def test_the_benchmark_measures_and_finds_twice_the_same():
    root = Path(__file__).parents[2]
    command = [sys.executable, root / "benchmarks" / "replay.py", "--minutes", "0.2", "--json"]
    own = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["the same twice"] and found["steps"] == 120 and found["times as fast"] > 1.0
