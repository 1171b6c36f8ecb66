"""Write `.pth` files as torch.save does: a trained policy at once, a random one tensor by tensor."""

from __future__ import annotations

import argparse
import collections
import io
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from simple_clip_lstm_ros.errors import CheckpointError
from simple_clip_lstm_ros.files import check_writable, temp_path, write_errors_as
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM


def save_checkpoint(
    model: SimpleCLIPLSTM,
    path: Path,
    processors: Path,
    *,
    epoch: int,
    val_mae: float,
    optimizer: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Write `path` and `path`.processors with the model's own config.

    Raise CheckpointError on failure, and leave nothing behind.
    """
    weights = model.state_dict()
    content = {
        "epoch": epoch,
        "model_state_dict": weights,
        "optimizer_state_dict": dict(optimizer),
        "val_mae": val_mae,
        "args": argparse.Namespace(**settings),
        "policy_config": model.config.to_dict(),
    }
    check_free(path, sum(tensor.nbytes for tensor in weights.values()))
    with atomic_checkpoint(path) as partial:
        try:
            torch.save(content, partial)
        except RuntimeError as error:  # torch's writer reports a full disk this way
            raise OSError(str(error)) from error
        shutil.copytree(processors, processors_of(path))


@contextmanager
def atomic_checkpoint(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` on success.

    On failure, remove it and the processors next to it, and raise CheckpointError for write errors.
    """
    partial = temp_path(path)
    try:
        with write_errors_as(CheckpointError, path):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
        if not path.exists():
            shutil.rmtree(processors_of(path), ignore_errors=True)


def check_free(path: Path, weights: int) -> None:
    """Raise CheckpointError if `path` or its processors exist, or the disk is too small.

    `weights` is the size of the weights in bytes.
    """
    check_writable(path, round(weights * 1.01))
    if processors_of(path).exists():
        raise CheckpointError(f"{processors_of(path)} exists; remove it or choose another name")


def processors_of(path: Path) -> Path:
    """Return the processors folder next to a checkpoint."""
    return Path(f"{path}.processors")


_ALIGNMENT = 64  # as in torch.save, so that mapped tensors are aligned
_LOCAL_HEADER_SIZE = 30
_STORAGE_TYPES = {torch.float32: torch.FloatStorage, torch.int64: torch.LongStorage}


@dataclass(frozen=True)
class LazyTensor:
    """A contiguous tensor that `make` creates when it is written."""

    shape: tuple[int, ...]
    make: Callable[[], torch.Tensor]
    dtype: torch.dtype = torch.float32

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class _Pickler(pickle.Pickler):
    """Pickles a LazyTensor as torch.save pickles a tensor.

    That is a call of _rebuild_tensor_v2 on a storage identified by its key.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.tensors: list[LazyTensor] = []

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, LazyTensor):
            return NotImplemented
        stride = tuple(prod(obj.shape[dim + 1 :]) for dim in range(len(obj.shape)))
        rebuild = torch._utils._rebuild_tensor_v2
        return rebuild, (_StorageRef(obj), 0, obj.shape, stride, False, collections.OrderedDict())

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _StorageRef):
            return None
        self.tensors.append(obj.tensor)
        key = str(len(self.tensors) - 1)
        return ("storage", _STORAGE_TYPES[obj.tensor.dtype], key, "cpu", prod(obj.tensor.shape))


@dataclass(frozen=True)
class _StorageRef:
    tensor: LazyTensor


def write_archive(path: Path, content: Any, on_written: Callable[[int], None]) -> None:
    """Write `content`, with LazyTensors in place of tensors.

    `on_written` gets the size of each tensor in bytes.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        # data.pkl comes first, so that a truncated file still contains its expected size.
        _write(archive, "data.pkl", buffer.getvalue())
        _write(archive, "byteorder", b"little")
        for key, tensor in enumerate(pickler.tensors):
            made = tensor.make().contiguous()
            if tuple(made.shape) != tensor.shape or made.dtype != tensor.dtype:
                raise ValueError(f"a tensor of {tensor.shape} {tensor.dtype} became {tuple(made.shape)} {made.dtype}")
            _write(archive, f"data/{key}", made.reshape(-1).view(torch.uint8).numpy().data)
            on_written(tensor.nbytes)
        _write(archive, "version", b"3\n")


def _write(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    info = zipfile.ZipInfo(f"{Path(archive.filename or '').name.partition('.')[0]}/{name}")
    info.file_size = len(data)
    header = archive.start_dir + _LOCAL_HEADER_SIZE + len(info.filename.encode()) + 4
    padding = -header % _ALIGNMENT
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    with archive.open(info, "w") as record:
        record.write(data)
