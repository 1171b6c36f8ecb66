"""What several rooms' tests share: the tiny checkpoint, written once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from simple_clip_lstm_ros.checkpoint.synth import synthesise

# A tiny model's operations are too short to share: on a busy machine its threads mostly wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with its processors beside it; treat it as read-only."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.pth"
    synthesise("tiny", path)
    return path
