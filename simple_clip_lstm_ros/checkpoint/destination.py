"""Where something large is to be written: refused beforehand where that can be foreseen."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from simple_clip_lstm_ros.errors import CheckpointError


def partial_of(path: Path) -> Path:
    """What `path` is called until it is complete."""
    return path.with_name(f"{path.name}.partial")


def refuse_unwritable(path: Path, size: int) -> None:
    """Raises CheckpointError if something is at `path` already, or `size` bytes cannot be written there."""
    try:
        taken = path.exists() or path.is_symlink() or partial_of(path).is_symlink()
    except OSError as error:  # a name that is too long
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from None
    if taken:
        raise CheckpointError(f"{path} exists; remove it or choose another name")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise CheckpointError(f"{parent} is not a folder; create it first")
    try:
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from None
    free = shutil.disk_usage(parent).free
    if free < size:
        raise CheckpointError(f"{parent} has {free / 1e9:.2f} GB free, and {path.name} needs {size / 1e9:.2f} GB")
