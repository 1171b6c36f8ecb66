"""The bundle format: a self-contained folder that `convert` makes of a checkpoint.

    config.json           PolicyConfig, precision, origin, versions
    model.safetensors     the tensors; large models use shards model-00001-of-00002.safetensors, ... and an index
    processors/           the tokenizers
    SHA256SUMS            checksums of all other files, as `sha256sum -c SHA256SUMS` reads it; written last

An int8 weight NAME has its scales next to it as NAME_scale.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from simple_clip_lstm_ros.checkpoint.mapped_file import MappedFile, MappedTensor
from simple_clip_lstm_ros.errors import CheckpointError
from simple_clip_lstm_ros.policy.processor_files import check_no_code

FORMAT = "simple_clip_lstm_ros bundle"
FORMAT_VERSION = 1
CONFIG, SUMS, PROCESSORS, INDEX = "config.json", "SHA256SUMS", "processors", "model.safetensors.index.json"
SCALE = "_scale"
SCALED = f".weight{SCALE}"

# Names of dtypes in safetensors.
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I8": torch.int8}

REMEDY = "copy it again, or convert its source again"
_BLOCK = 8 << 20


@dataclass(frozen=True)
class Bundle:
    """An open bundle: `config` is config.json, `tensors` are mapped in their files, including scales."""

    path: Path
    config: dict[str, Any]
    tensors: dict[str, MappedTensor]

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Open the bundle at `path`, without checking the checksums of the weights; `verify` does that.

        Raise CheckpointError for a folder that is not a complete bundle, ProcessorsError for processors with code.
        """
        try:
            sums = read_sums(path)
            small = {name: checksum for name, checksum in sums.items() if not name.endswith(".safetensors")}
            check_sums(path, small)
            config = _read_config(path / CONFIG)
            check_no_code(path / PROCESSORS)
            tensors: dict[str, MappedTensor] = {}
            for name in sorted(sums.keys() - small.keys()):
                shard = _read_shard(path / name)
                duplicate = next(iter(shard.keys() & tensors.keys()), None)
                if duplicate:
                    raise CheckpointError(f"{path} holds {duplicate} twice; {REMEDY}")
                tensors |= shard
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
        return cls(path, config, tensors)


def read_sums(path: Path) -> dict[str, str]:
    """Return the checksums by file name. Raise CheckpointError for missing or extra files."""
    sums = parse_sums(path)
    found = list_files(path)
    if missing := sorted(sums.keys() - found):
        raise CheckpointError(f"{path} lacks {join_names(missing)}; {REMEDY}")
    if extra := sorted(found - sums.keys()):
        raise CheckpointError(
            f"{path} holds {join_names(extra)}, which does not belong to the bundle; remove it from the folder"
        )
    return sums


def parse_sums(path: Path) -> dict[str, str]:
    """Return the checksums of the files that should exist, by file name.

    Raise CheckpointError if this is not a bundle's manifest.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a bundle; give a folder written by `convert`")
    if not (path / SUMS).is_file():
        what = "is an incomplete bundle" if (path / CONFIG).is_file() else "is a folder and no bundle"
        raise CheckpointError(f"{path} {what}: it has no {SUMS}; name a .pth file, or a folder that `convert` made")
    lines = (path / SUMS).read_text(errors="replace").splitlines()
    pairs = [line.split("  ", 1) for line in lines]
    if any(len(pair) != 2 or len(pair[0]) != 64 for pair in pairs):
        raise CheckpointError(f"{path / SUMS} is damaged; {REMEDY}")
    sums = {name: checksum for checksum, name in pairs}
    if CONFIG not in sums or not any(name.endswith(".safetensors") for name in sums):
        raise CheckpointError(f"{path / SUMS} is incomplete; {REMEDY}")
    return sums


def list_files(path: Path) -> set[str]:
    """Return the names of the files in the folder, without the manifest."""
    return {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()} - {SUMS}


def check_sums(path: Path, sums: Mapping[str, str]) -> None:
    """Raise CheckpointError for the first file whose checksum differs."""
    for name, checksum in sums.items():
        if sha256(path / name) != checksum:
            hint = " (state settings with --config)" if name == CONFIG else ""
            raise CheckpointError(f"{path / name} is not as it was written: its checksum differs{hint}; {REMEDY}")


def sha256(path: Path, on_read: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    `on_read` gets the size of each block in bytes.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            if on_read:
                on_read(len(block))
    return digest.hexdigest()


def fingerprint(path: str | Path) -> str:
    """Return the SHA-256 of a bundle's own checksums, which identifies the bundle; empty for other paths."""
    sums = Path(path) / SUMS
    return sha256(sums) if sums.is_file() else ""


def join_names(names: Sequence[str]) -> str:
    """Return the first three names in words and the number of the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more files" if len(names) > 3 else "")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested too deep
        raise CheckpointError(f"{path} is damaged; {REMEDY}") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not of a bundle of this package; name a folder that `convert` made")
    version = config.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise CheckpointError(
            f"{path.parent} is a bundle of format {version} (written by {config.get('package_version')}) and this "
            f"package reads {FORMAT_VERSION}; update the package, or convert the source with this one"
        )
    if not isinstance(config.get("policy_config"), dict):
        raise CheckpointError(f"{path} has no policy_config; {REMEDY}")
    return config


def _read_shard(path: Path) -> dict[str, MappedTensor]:
    try:
        with safe_open(path, "pt"):
            """The library checks that the header is valid and covers the file without gaps."""
        mapped = MappedFile(path)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or incomplete ({error}); {REMEDY}") from None
    start = 8 + int.from_bytes(mapped[0:8], "little")
    header = json.loads(mapped[8:start])
    header.pop("__metadata__", None)
    return {name: _map_tensor(path, name, mapped, start, entry) for name, entry in header.items()}


def _map_tensor(path: Path, name: str, mapped: MappedFile, start: int, entry: Mapping[str, Any]) -> MappedTensor:
    if entry["dtype"] not in DTYPES:
        raise CheckpointError(f"{path}: {name} is stored as {entry['dtype']}, which no bundle holds; {REMEDY}")
    shape = tuple(entry["shape"])
    stride = tuple(prod(shape[dimension + 1 :]) for dimension in range(len(shape)))
    return MappedTensor(mapped, DTYPES[entry["dtype"]], shape, start + entry["data_offsets"][0], stride)


_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ALIGNMENT = 64


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of a tensor to be written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Shard:
    """One file: its header and the offset of each tensor in bytes."""

    file: str
    header: bytes
    offsets: dict[str, int]
    nbytes: int


def plan_shards(specs: Sequence[TensorSpec], limit: int) -> list[Shard]:
    """Distribute tensors in order over files of at most `limit` bytes of tensors each.

    A larger tensor gets a file of its own.
    """
    groups: list[list[TensorSpec]] = [[]]
    for spec in specs:
        if groups[-1] and sum(other.nbytes for other in groups[-1]) + spec.nbytes > limit:
            groups.append([])
        groups[-1].append(spec)
    if len(groups) == 1:
        return [_shard("model.safetensors", groups[0])]
    count = len(groups)
    return [_shard(f"model-{index:05}-of-{count:05}.safetensors", group) for index, group in enumerate(groups, 1)]


def _shard(file: str, specs: Sequence[TensorSpec]) -> Shard:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    relative, end = {}, 0
    # Tensors of odd sizes come last: all others are then aligned as in a .pth, and compute bit-identical results.
    # Among the odd ones the widest dtypes come first, so that each tensor is aligned to its dtype.
    for spec in sorted(specs, key=lambda spec: (spec.nbytes % _ALIGNMENT != 0, -spec.dtype.itemsize)):
        relative[spec.name], end = end, end + spec.nbytes
        extent = [relative[spec.name], end]
        header[spec.name] = {"dtype": _DTYPE_NAMES[spec.dtype], "shape": list(spec.shape), "data_offsets": extent}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    data = len(text).to_bytes(8, "little") + text
    return Shard(file, data, {name: len(data) + offset for name, offset in relative.items()}, len(data) + end)


def build_index(shards: Sequence[Shard], total: int) -> Mapping[str, object]:
    """Return the index that Hugging Face's tools read next to several shards."""
    names = {name: shard.file for shard in shards for name in shard.offsets}
    return {"metadata": {"total_size": total}, "weight_map": dict(sorted(names.items()))}


class ShardWriter(AbstractContextManager["ShardWriter"]):
    """Writes the files of `shards` in `folder`, with their disk space allocated up front. Raises OSError."""

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self._stack = ExitStack()
        self._targets: dict[str, tuple[IO[bytes], int]] = {}
        with self._stack:
            for shard in shards:
                file = self._stack.enter_context((folder / shard.file).open("xb"))
                os.posix_fallocate(file.fileno(), 0, shard.nbytes)
                file.write(shard.header)
                self._targets |= {name: (file, offset) for name, offset in shard.offsets.items()}
            self._stack = self._stack.pop_all()
        if len(shards) > 1:
            total = sum(shard.nbytes - len(shard.header) for shard in shards)
            (folder / INDEX).write_text(json.dumps(build_index(shards, total), indent=2))

    def write(self, name: str, first: int, rows: Tensor) -> None:
        """Write some rows of the tensor `name`, starting at row `first`."""
        file, offset = self._targets[name]
        row = rows[0].nbytes if rows.ndim and len(rows) else 0
        file.seek(offset + first * row)
        file.write(rows.contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def __exit__(self, *exception: object) -> None:
        with self._stack:
            for file in {id(file): file for file, _ in self._targets.values()}.values():
                file.flush()
