"""scripts/train_tiny_model.py, at so little effort that the model cannot drive: from nothing to a bundle."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simple_clip_lstm_ros.checkpoint import load_policy
from simple_clip_lstm_ros.checkpoint.verify import verify

ROOT = Path(__file__).parent.parent
LIMIT = 3_000_000  # bytes of the model that ships


def size(bundle: Path) -> int:
    return sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())


@pytest.mark.full
def test_it_makes_a_trained_bundle_that_is_as_small_as_the_one_that_ships(tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    command = [sys.executable, "scripts/train_tiny_model.py", "--seed", "3", "--effort", "0.003", "--out", str(out)]
    made = subprocess.run(["timeout", "-s", "KILL", "600", *command], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    stages = re.findall(r" s  (?:\d+ examples by )?(\w+)", made.stdout)
    kinds = {"random_views", "expert_rollout", "policy_rollout"}
    assert kinds | {"EncoderPretrainingLoss", "BehaviorCloningLoss"} <= set(stages)
    losses = [float(loss) for loss in re.findall(r"EncoderPretrainingLoss: epoch .* loss (\S+)", made.stdout)]
    assert len(losses) > 1 and losses[-1] < losses[0], made.stdout
    policy = load_policy(out, device="cpu", precision="fp32")
    assert not policy.config.untrained and not policy.config.assumed
    left, right = (
        policy.step(np.zeros((120, 160, 3), np.uint8), f"go around the {side} side of the box").values
        for side in ("left", "right")
    )
    assert np.isfinite([*left, *right]).all() and left != right
    assert size(out) == pytest.approx(size(ROOT / "simple_clip_lstm_ros" / "models" / "tiny"), rel=0.05)


def test_the_one_that_ships_is_whole_and_small() -> None:
    bundle = ROOT / "simple_clip_lstm_ros" / "models" / "tiny"
    assert not verify(bundle, lambda read, total: None).broken
    assert size(bundle) <= LIMIT
