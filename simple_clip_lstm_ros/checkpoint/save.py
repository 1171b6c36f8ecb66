"""A trained policy as the file that the original trainer would leave: `.pth`, with its processors beside it."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    weights = model.state_dict()
    content = {
        "epoch": epoch,
        "model_state_dict": weights,
        "optimizer_state_dict": dict(optimizer),
        "val_mae": val_mae,
        "args": argparse.Namespace(**settings),
        "policy_config": model.config.to_dict(),
    }
    refuse_taken(path, sum(tensor.nbytes for tensor in weights.values()))
    with written(path) as partial:
        try:
            torch.save(content, partial)
        except RuntimeError as error:  # so torch's own writer tells of a full disk
            raise OSError(str(error)) from error
        shutil.copytree(processors, processors_of(path))


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Where to write what becomes `path`, with its processors beside that: all, or nothing and CheckpointError."""
    partial = partial_of(path)
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
        if not path.exists():
            shutil.rmtree(processors_of(path), ignore_errors=True)


def refuse_taken(path: Path, weights: int) -> None:
    """Raises CheckpointError where so many bytes of weights have no room, or a checkpoint or processors lie already."""
    refuse_unwritable(path, round(weights * 1.01))
    if processors_of(path).exists():
        raise CheckpointError(f"{processors_of(path)} exists; remove it or choose another name")


def processors_of(path: Path) -> Path:
    """The folder that belongs to a checkpoint, beside it."""
    return Path(f"{path}.processors")
