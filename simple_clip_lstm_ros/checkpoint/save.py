"""A trained policy as the file that the original trainer would leave: `.pth`, with its processors beside it."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from simple_clip_lstm_ros.checkpoint.destination import partial_of, refuse_unwritable
from simple_clip_lstm_ros.errors import CheckpointError
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM


def save(
    model: SimpleCLIPLSTM,
    path: Path,
    processors: Path,
    *,
    epoch: int,
    val_mae: float,
    optimizer: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Write `path` and `path`.processors; the config is the model's own. Raises CheckpointError, and leaves nothing."""
    refuse_taken(path)
    weights = model.state_dict()
    content = {
        "epoch": epoch,
        "model_state_dict": weights,
        "optimizer_state_dict": dict(optimizer),
        "val_mae": val_mae,
        "args": argparse.Namespace(**settings),
        "policy_config": model.config.to_dict(),
    }
    refuse_unwritable(path, round(1.01 * sum(tensor.nbytes for tensor in weights.values())))
    partial = partial_of(path)
    try:
        torch.save(content, partial)
        shutil.copytree(processors, processors_of(path))
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch's own writer tells of a full disk as the latter
        raise CheckpointError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    finally:
        partial.unlink(missing_ok=True)
        if not path.exists():
            shutil.rmtree(processors_of(path), ignore_errors=True)


def refuse_taken(path: Path) -> None:
    """Raises CheckpointError where a checkpoint, or its processors, are at `path` already."""
    refuse_unwritable(path, 0)
    if processors_of(path).exists():
        raise CheckpointError(f"{processors_of(path)} exists; remove it or choose another name")


def processors_of(path: Path) -> Path:
    """The folder that belongs to a checkpoint, beside it."""
    return Path(f"{path}.processors")
