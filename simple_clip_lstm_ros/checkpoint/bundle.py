"""A bundle: the folder that `convert` makes of a checkpoint, complete in itself.

    config.json           PolicyConfig, precision, origin, versions
    model.safetensors     the tensors; in shards model-00001-of-00002.safetensors, ... with an index where it is large
    processors/           the tokenizers
    SHA256SUMS            of all other files, as `sha256sum -c SHA256SUMS` reads it; written last

A weight NAME that is int8 has its scales beside it as NAME_scale.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from simple_clip_lstm_ros.checkpoint.mapped import MappedFile, Stored
from simple_clip_lstm_ros.errors import CheckpointError
from simple_clip_lstm_ros.policy.processor_files import check_no_code

FORMAT = "simple_clip_lstm_ros bundle"
FORMAT_VERSION = 1
CONFIG, SUMS, PROCESSORS, INDEX = "config.json", "SHA256SUMS", "processors", "model.safetensors.index.json"
SCALE = "_scale"
SCALED = f".weight{SCALE}"

# safetensors' names.
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I8": torch.int8}

AGAIN = "copy it again, or convert its source again"
_BLOCK = 8 << 20


@dataclass(frozen=True)
class Bundle:
    """An open bundle: `config` is config.json, `tensors` lie mapped in their files, scales among them."""

    path: Path
    config: dict[str, Any]
    tensors: dict[str, Stored]

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Open the bundle at `path`; `verify` checks the weights' checksums.

        Raise CheckpointError for a folder that is not a complete bundle, ProcessorsError for processors with code.
        """
        try:
            sums = read_sums(path)
            small = {name: checksum for name, checksum in sums.items() if not name.endswith(".safetensors")}
            check_sums(path, small)
            config = _read_config(path / CONFIG)
            check_no_code(path / PROCESSORS)
            tensors: dict[str, Stored] = {}
            for name in sorted(sums.keys() - small.keys()):
                shard = _read_shard(path / name)
                twice = next(iter(shard.keys() & tensors.keys()), None)
                if twice:
                    raise CheckpointError(f"{path} holds {twice} twice; {AGAIN}")
                tensors |= shard
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
        return cls(path, config, tensors)


def read_sums(path: Path) -> dict[str, str]:
    """File -> checksum, of exactly the files that are there. Raises CheckpointError where others are, or some lack."""
    sums = stated_sums(path)
    found = files_of(path)
    if missing := sorted(sums.keys() - found):
        raise CheckpointError(f"{path} lacks {some(missing)}; {AGAIN}")
    if extra := sorted(found - sums.keys()):
        raise CheckpointError(f"{path} holds {some(extra)}, which is not of the bundle; remove it from the folder")
    return sums


def stated_sums(path: Path) -> dict[str, str]:
    """File -> checksum, of the files that should be there. Raises CheckpointError for what is no bundle's manifest."""
    if not path.is_dir():
        raise CheckpointError(f"{path} is no bundle; name a folder that `convert` made")
    if not (path / SUMS).is_file():
        what = "is an incomplete bundle" if (path / CONFIG).is_file() else "is a folder and no bundle"
        raise CheckpointError(f"{path} {what}: it has no {SUMS}; name a .pth file, or a folder that `convert` made")
    lines = (path / SUMS).read_text(errors="replace").splitlines()
    pairs = [line.split("  ", 1) for line in lines]
    if any(len(pair) != 2 or len(pair[0]) != 64 for pair in pairs):
        raise CheckpointError(f"{path / SUMS} is damaged; {AGAIN}")
    sums = {name: checksum for checksum, name in pairs}
    if CONFIG not in sums or not any(name.endswith(".safetensors") for name in sums):
        raise CheckpointError(f"{path / SUMS} is incomplete; {AGAIN}")
    return sums


def files_of(path: Path) -> set[str]:
    """Those that are there, the manifest aside."""
    return {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()} - {SUMS}


def check_sums(path: Path, sums: Mapping[str, str]) -> None:
    """Raises CheckpointError for the first file whose checksum differs."""
    for name, checksum in sums.items():
        if sha256(path / name) != checksum:
            hint = " (state settings with --config)" if name == CONFIG else ""
            raise CheckpointError(f"{path / name} is not as it was written: its checksum differs{hint}; {AGAIN}")


def sha256(path: Path, read: Callable[[int], None] | None = None) -> str:
    """Of the file, in hexadecimal. `read` is told the bytes of each block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            if read:
                read(len(block))
    return digest.hexdigest()


def fingerprint(path: str | Path) -> str:
    """SHA-256 of a bundle's own checksums, which stands for all of it; empty for what is no bundle."""
    sums = Path(path) / SUMS
    return sha256(sums) if sums.is_file() else ""


def some(names: Sequence[str]) -> str:
    """The first few, in words."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more files" if len(names) > 3 else "")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested too deep
        raise CheckpointError(f"{path} is damaged; {AGAIN}") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not of a bundle of this package; name a folder that `convert` made")
    version = config.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise CheckpointError(
            f"{path.parent} is a bundle of format {version} (written by {config.get('package_version')}) and this "
            f"package reads {FORMAT_VERSION}; update the package, or convert the source with this one"
        )
    if not isinstance(config.get("policy_config"), dict):
        raise CheckpointError(f"{path} has no policy_config; {AGAIN}")
    return config


def _read_shard(path: Path) -> dict[str, Stored]:
    try:
        with safe_open(path, "pt"):
            """The library checks that the header is sound and covers the file, without holes."""
        mapped = MappedFile(path)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or incomplete ({error}); {AGAIN}") from None
    start = 8 + int.from_bytes(mapped[0:8], "little")
    header = json.loads(mapped[8:start])
    header.pop("__metadata__", None)
    return {name: _stored(path, name, mapped, start, entry) for name, entry in header.items()}


def _stored(path: Path, name: str, mapped: MappedFile, start: int, entry: Mapping[str, Any]) -> Stored:
    if entry["dtype"] not in DTYPES:
        raise CheckpointError(f"{path}: {name} is stored as {entry['dtype']}, which no bundle holds; {AGAIN}")
    shape = tuple(entry["shape"])
    stride = tuple(prod(shape[dimension + 1 :]) for dimension in range(len(shape)))
    return Stored(mapped, DTYPES[entry["dtype"]], shape, start + entry["data_offsets"][0], stride)
