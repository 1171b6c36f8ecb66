"""What loading costs: weights in fp32 stay in the file, and a cast never holds more than its result.

Measured in a process of its own, which loads a small file first so that libraries and caches count for nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import simple_clip_lstm_ros
from simple_clip_lstm_ros.checkpoint.build import build, needed_shapes
from simple_clip_lstm_ros.checkpoint.profiles import PROFILES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup"),
]

_CHILD = """
import ctypes, gc, json, sys, threading
import torch
from simple_clip_lstm_ros.checkpoint.derive import derive_config
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM

def anonymous():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Anonymous:"))

def growth(load):
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = peak = anonymous()
    stopped = threading.Event()
    def watch():
        nonlocal peak
        while not stopped.wait(0.002):
            peak = max(peak, anonymous())
    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = load()
    stopped.set()
    watcher.join()
    return max(peak, anonymous()) - before

def naive(path, config):
    model = SimpleCLIPLSTM(config)
    model.load_state_dict(torch.load(path, weights_only=False)["model_state_dict"])
    return model

tiny, wide, processors = sys.argv[1:]
torch.set_num_threads(1)
naive(tiny, load_policy(tiny).config)
load_policy(tiny, precision="bf16")
config = load_policy(wide, processors=processors).config
print(json.dumps({
    "fp32": growth(lambda: load_policy(wide, processors=processors)),
    "bf16": growth(lambda: load_policy(wide, processors=processors, precision="bf16")),
    "naive": growth(lambda: naive(wide, config)),
}))
"""


@pytest.fixture(scope="module")
def shares(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Growth of anonymous memory in each way of loading, as a share of the file."""
    wide = tmp_path_factory.mktemp("wide") / "wide.pth"
    _write_wide(wide)
    outcome = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tiny), str(wide), f"{tiny}.processors"],
        env=os.environ | {"PYTHONPATH": str(Path(simple_clip_lstm_ros.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    size = wide.stat().st_size
    wide.unlink()
    assert outcome.returncode == 0, outcome.stderr
    return {way: grown / size for way, grown in json.loads(outcome.stdout).items()}


def _write_wide(path: Path) -> None:
    """The tiny profile with long feed-forward layers in its encoders: 70 MB, most of them there as in a real file."""
    tiny = PROFILES["tiny"]
    kosmos = tiny.kosmos | {"text_config": tiny.kosmos["text_config"] | {"ffn_dim": 24_000}}
    clip = tiny.clip | {"vision_config": tiny.clip["vision_config"] | {"intermediate_size": 8_000}}
    config = replace(tiny, kosmos=kosmos, clip=clip)
    state = {name: torch.full(shape, 0.01) for name, shape in needed_shapes(build(config)).items()}
    torch.save({"model_state_dict": state, "policy_config": config.to_dict()}, path)
    assert 50e6 < path.stat().st_size < 100e6


def test_the_measure_sees_a_naive_load(shares: dict[str, float]) -> None:
    assert shares["naive"] > 0.8


def test_in_fp32_the_weights_stay_mapped_from_the_file(shares: dict[str, float]) -> None:
    assert shares["fp32"] < 0.3


def test_in_bf16_the_peak_is_near_the_cast_weights(shares: dict[str, float]) -> None:
    assert 0.4 < shares["bf16"] < 0.75
