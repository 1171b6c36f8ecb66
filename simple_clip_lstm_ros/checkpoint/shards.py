"""safetensors files that are laid out in full first and then filled piece by piece, in any order.

The library's own writer takes all tensors of a file at once; ours never needs more than a piece of one in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from simple_clip_lstm_ros.checkpoint.bundle import DTYPES, INDEX

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ALIGNMENT = 64


@dataclass(frozen=True)
class Entry:
    """A tensor to be written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Shard:
    """One file: its header and where each tensor begins."""

    file: str
    header: bytes
    offsets: dict[str, int]
    nbytes: int


def lay_out(entries: Sequence[Entry], limit: int) -> list[Shard]:
    """Files of at most `limit` bytes of tensors each, in order; one that is larger has a file of its own."""
    groups: list[list[Entry]] = [[]]
    for entry in entries:
        if groups[-1] and sum(other.nbytes for other in groups[-1]) + entry.nbytes > limit:
            groups.append([])
        groups[-1].append(entry)
    if len(groups) == 1:
        return [_shard("model.safetensors", groups[0])]
    count = len(groups)
    return [_shard(f"model-{index:05}-of-{count:05}.safetensors", group) for index, group in enumerate(groups, 1)]


def _shard(file: str, entries: Sequence[Entry]) -> Shard:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    relative, end = {}, 0
    # The few of odd sizes last, so that all others are aligned as in a .pth: their arithmetic is the same bit for bit.
    # Of those the widest first, so that each tensor begins where its dtype may.
    for entry in sorted(entries, key=lambda entry: (entry.nbytes % _ALIGNMENT != 0, -entry.dtype.itemsize)):
        relative[entry.name], end = end, end + entry.nbytes
        extent = [relative[entry.name], end]
        header[entry.name] = {"dtype": _NAMES[entry.dtype], "shape": list(entry.shape), "data_offsets": extent}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    data = len(text).to_bytes(8, "little") + text
    return Shard(file, data, {name: len(data) + offset for name, offset in relative.items()}, len(data) + end)


def index_of(shards: Sequence[Shard], total: int) -> Mapping[str, object]:
    """What Hugging Face's tools want to read beside several shards."""
    names = {name: shard.file for shard in shards for name in shard.offsets}
    return {"metadata": {"total_size": total}, "weight_map": dict(sorted(names.items()))}


class Writer(AbstractContextManager["Writer"]):
    """The files of `shards` in `folder`, with their room on the disk taken. Raises OSError."""

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self._stack = ExitStack()
        self._places: dict[str, tuple[IO[bytes], int]] = {}
        with self._stack:
            for shard in shards:
                file = self._stack.enter_context((folder / shard.file).open("xb"))
                os.posix_fallocate(file.fileno(), 0, shard.nbytes)
                file.write(shard.header)
                self._places |= {name: (file, offset) for name, offset in shard.offsets.items()}
            self._stack = self._stack.pop_all()
        if len(shards) > 1:
            total = sum(shard.nbytes - len(shard.header) for shard in shards)
            (folder / INDEX).write_text(json.dumps(index_of(shards, total), indent=2))

    def write(self, name: str, first: int, rows: Tensor) -> None:
        """Some rows of the tensor, from the row `first` on."""
        file, offset = self._places[name]
        row = rows[0].nbytes if rows.ndim and len(rows) else 0
        file.seek(offset + first * row)
        file.write(rows.contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def __exit__(self, *exception: object) -> None:
        with self._stack:
            for file in {id(file): file for file, _ in self._places.values()}.values():
                file.flush()
