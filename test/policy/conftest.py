"""The tiny checkpoint as a Policy, and a few frames of real photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor, InstructionTokenizer
from simple_clip_lstm_ros.policy.sample_images import sample_crops


@pytest.fixture(scope="session")
def processors(tiny: Path) -> Path:
    return Path(f"{tiny}.processors")


@pytest.fixture(scope="session")
def tiny_model(tiny: Path) -> SimpleCLIPLSTM:
    return load_policy(tiny).model


@pytest.fixture(scope="session")
def tiny_config(tiny_model: SimpleCLIPLSTM) -> PolicyConfig:
    return tiny_model.config


@pytest.fixture(scope="session")
def wrapped(processors: Path) -> Callable[[SimpleCLIPLSTM], Policy]:
    """Puts a model on the CPU in float32 into a Policy of its own, with the tiny processors."""

    def wrap(model: SimpleCLIPLSTM) -> Policy:
        cpu = torch.device("cpu")
        return Policy(
            model,
            ImagePreprocessor(model.config, cpu, torch.float32),
            InstructionTokenizer(processors, model.config, cpu),
            "fp32",
        )

    return wrap


@pytest.fixture
def policy(tiny_model: SimpleCLIPLSTM, wrapped: Callable[[SimpleCLIPLSTM], Policy]) -> Policy:
    """The tiny policy, fresh: no frame and no instruction seen."""
    return wrapped(tiny_model)


@pytest.fixture(scope="session")
def frames() -> list[np.ndarray]:
    """Six frames of different photographs; treat them as read-only."""
    return list(sample_crops(6, seed=1))
