"""A mapped file of tensors: shape and dtype are known, values are read on access only."""

from __future__ import annotations

import mmap
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from simple_clip_lstm_ros.errors import CheckpointError

# Approximate bytes per chunk of rows: a cast then needs little memory besides its result.
_CHUNK = 256 << 10


@dataclass(frozen=True)
class MappedTensor:
    """A tensor in a mapped file. `offset` is in bytes, `stride` in elements."""

    file: MappedFile
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def view(self) -> torch.Tensor:
        """Return the tensor as a view of the map, without reading any of it."""
        return self.file.view(self.dtype, self.offset, self._reach, self.shape, self.stride)

    def iter_chunks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield some rows at a time, each chunk valid until the next one.

        Chunks are read into memory, so that no page of the map is touched. Raise CheckpointError if the file has become
        shorter; an access to the map would then end the process.
        """
        if not self.nbytes or not self._is_contiguous:
            yield slice(0, self.shape[0]), self.view().clone()
            return
        if not self.shape:
            scalar = torch.empty((), dtype=self.dtype)
            self.file.read_into(scalar, self.offset)
            yield slice(0, 1), scalar
            return
        row = self.nbytes // self.shape[0]
        rows = min(self.shape[0], max(1, _CHUNK // row))
        buffer = empty_mmap((rows, *self.shape[1:]), self.dtype)
        for start in range(0, self.shape[0], rows):
            chunk = buffer[: self.shape[0] - start]
            self.file.read_into(chunk, self.offset + start * row)
            yield slice(start, start + len(chunk)), chunk

    @property
    def _is_contiguous(self) -> bool:
        return self._reach == prod(self.shape) and list(self.stride) == sorted(self.stride, reverse=True)

    @property
    def _reach(self) -> int:
        """Return the number of elements from the first to the last."""
        if not prod(self.shape):
            return 0
        return sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True)) + 1


def empty_mmap(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return zeros in an anonymous mapping.

    Heap memory freed between tensors that remain would not return to the system.
    """
    size = prod(shape) * dtype.itemsize
    if not size:
        return torch.zeros(shape, dtype=dtype)
    private = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(private, dtype=dtype).view(shape)


class MappedFile:
    """A file mapped read-only for all its tensors. Raises OSError if the file cannot be mapped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        # Private and writable, so that torch accepts the buffer; no page is copied without a write.
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)

    def __getitem__(self, extent: slice) -> bytes:
        return self._map[extent]

    def view(
        self, dtype: torch.dtype, offset: int, reach: int, shape: tuple[int, ...], stride: tuple[int, ...]
    ) -> torch.Tensor:
        if not reach:
            return torch.empty_strided(shape, stride, dtype=dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            storage = torch.frombuffer(self._map, dtype=dtype, count=reach, offset=offset)
        return torch.as_strided(storage, shape, stride)

    def read_into(self, tensor: torch.Tensor, offset: int) -> None:
        """Read bytes at `offset` into `tensor`. Raise CheckpointError if the file ends too early."""
        values = tensor.view(-1).view(torch.uint8).numpy()
        try:
            read = os.preadv(self._file.fileno(), [values.data], offset)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror}") from None
        if read != values.nbytes:
            raise CheckpointError(f"{self.path} has become shorter while it was read; start again when it is complete")
