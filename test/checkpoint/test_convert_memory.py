"""What converting costs: a piece of a tensor at a time, whatever the file's size."""

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

pytestmark = pytest.mark.slow

_CHILD = """
import json, sys, threading
import torch
from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.engine.memory import clear_memory, read_process

def growth(work):
    clear_memory()
    before = peak = read_process().anonymous
    stopped = threading.Event()
    def watch():
        nonlocal peak
        while not stopped.wait(0.002):
            peak = max(peak, read_process().anonymous)
    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = work()
    stopped.set()
    watcher.join()
    return max(peak, read_process().anonymous) - before

tiny, wide, processors, out = sys.argv[1:]
torch.set_num_threads(1)
for precision in ("fp32", "bf16", "int8"):
    convert(tiny, f"{out}/tiny {precision}", precision=precision)
    load_policy(f"{out}/tiny {precision}")
found = {}
for precision in ("fp32", "bf16", "int8"):
    path = f"{out}/wide {precision}"
    found[f"convert to {precision}"] = growth(
        lambda: convert(wide, path, processors=processors, precision=precision))
    found[f"load {precision}"] = growth(lambda: load_policy(path, precision=precision))
found["naive"] = growth(lambda: torch.load(wide, weights_only=False))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def shares(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Growth of anonymous memory, as a share of the file."""
    folder = tmp_path_factory.mktemp("wide")
    profile = PROFILES["tiny"]
    text = profile.kosmos["text_config"] | {"ffn_dim": 100_000}
    config = replace(profile, kosmos=profile.kosmos | {"text_config": text})
    state = {name: torch.full(shape, 0.01) for name, shape in needed_shapes(build(config)).items()}
    torch.save({"model_state_dict": state, "policy_config": config.to_dict()}, folder / "wide.pth")
    size = (folder / "wide.pth").stat().st_size
    assert 150e6 < size < 400e6
    command = [sys.executable, "-c", _CHILD, tiny, folder / "wide.pth", f"{tiny}.processors", folder]
    environment = os.environ | {"PYTHONPATH": str(Path(simple_clip_lstm_ros.__file__).parents[1])}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=200)
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    (folder / "wide.pth").unlink()
    assert done.returncode == 0, done.stderr
    return {way: grown / size for way, grown in json.loads(done.stdout).items()}


def test_the_measure_sees_a_whole_file(shares: dict[str, float]) -> None:
    assert shares["naive"] > 0.8


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_converting_never_holds_much_of_the_file(shares: dict[str, float], precision: str) -> None:
    assert shares[f"convert to {precision}"] < 0.2


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_bundle_stays_mapped_at_its_own_precision(shares: dict[str, float], precision: str) -> None:
    assert shares[f"load {precision}"] < 0.15
