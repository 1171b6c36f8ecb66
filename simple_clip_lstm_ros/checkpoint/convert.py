"""Convert any checkpoint to a bundle, tensor by tensor; nothing remains after a failure."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from simple_clip_lstm_ros import __version__
from simple_clip_lstm_ros.checkpoint.bundle import (
    CONFIG,
    FORMAT,
    FORMAT_VERSION,
    PROCESSORS,
    SCALE,
    SUMS,
    Shard,
    ShardWriter,
    TensorSpec,
    plan_shards,
    sha256,
)
from simple_clip_lstm_ros.checkpoint.spec import CheckpointSpec, open_spec
from simple_clip_lstm_ros.checkpoint.tensors import TensorCast
from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.engine.precision import storage_precision
from simple_clip_lstm_ros.engine.quantization import SCALE_DTYPE, missing_dependency
from simple_clip_lstm_ros.errors import CheckpointError, ConfigError, DeviceError
from simple_clip_lstm_ros.files import check_writable, temp_path, write_errors_as
from simple_clip_lstm_ros.json_utils import nan_to_null
from simple_clip_lstm_ros.policy.preprocessing import InstructionTokenizer
from simple_clip_lstm_ros.policy.processor_files import find_processors

Report = Callable[[str, int, int], None]  # activity, bytes done, bytes in total; may raise to cancel

SHARD_BYTES = 5_000_000_000
_MAX_SHARDS = 500  # all files are open at once

# A folder downloaded from a hub may contain weights and caches besides tokenizers.
_EXCLUDED_SUFFIXES = {".bin", ".safetensors", ".h5", ".msgpack", ".onnx", ".pt", ".pth"}


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    processors: str | Path | None = None,
    precision: str = "",
    config: Mapping[str, Any] | None = None,
    shard_bytes: int = SHARD_BYTES,
    report: Report | None = None,
) -> None:
    """Write the bundle `destination` of the checkpoint `source`.

    It keeps the source's precision unless `precision` names another. Raise CheckpointError, ConfigError,
    ProcessorsError or DeviceError; nothing is left behind then.
    """
    source, destination = resolve_path(source), Path(destination)
    if shard_bytes < 1:
        raise ConfigError(f"a shard holds at least one byte, not {shard_bytes}")
    if destination.absolute().is_relative_to(source.absolute()):
        raise CheckpointError(f"{destination} lies within {source}; choose a folder elsewhere")
    before = _source_state(source)
    spec = open_spec(source, config or {})
    folder = find_processors(source, processors)
    InstructionTokenizer(folder, spec.config, torch.device("cpu"))
    target = storage_precision(precision, spec.info.precision)
    if target.name == "int8" and (missing := missing_dependency()):
        raise DeviceError(missing)
    casts = spec.casts(target)
    shards = plan_shards([each for cast in casts for each in _tensor_specs(cast)], shard_bytes)
    if len(shards) > _MAX_SHARDS:
        raise ConfigError(f"a shard of {shard_bytes} bytes makes {len(shards)} files; choose a larger one")
    tokenizers = _processor_files(folder)
    check_writable(destination, sum(shard.nbytes for shard in shards) + sum(map(_size, tokenizers.values())))
    partial = temp_path(destination)
    if partial.exists():
        raise CheckpointError(f"{partial} exists: another conversion is running, or one was killed (then remove it)")
    report = report or (lambda what, done, total: None)
    try:
        with write_errors_as(CheckpointError, destination):
            partial.mkdir()
            _Conversion(source, before, spec, target.name, casts, shards, tokenizers, report).write(partial)
            partial.rename(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True)
class _Conversion:
    source: Path
    before: list[tuple[Path, int, int, int]]
    spec: CheckpointSpec
    precision: str
    casts: list[TensorCast]
    shards: list[Shard]
    tokenizers: dict[Path, Path]
    report: Report

    def write(self, folder: Path) -> None:
        for name, file in self.tokenizers.items():
            (folder / PROCESSORS / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / PROCESSORS / name)
        self._write_tensors(folder)
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "package_version": __version__,
            "precision": self.precision,
            "policy_config": self.spec.config.to_dict(),
            "origin": self._origin(),
        }
        (folder / CONFIG).write_text(json.dumps(config, indent=2, allow_nan=False) + "\n")
        if _source_state(self.source) != self.before:
            raise CheckpointError(f"{self.source} changed while it was converted; convert it again when it is complete")
        self._write_sums(folder)
        _sync(folder)

    def _write_tensors(self, folder: Path) -> None:
        total, done = sum(cast.stored.nbytes for cast in self.casts), 0
        with ShardWriter(folder, self.shards) as writer:
            for cast in self.casts:
                for rows, values, scales in cast.iter_chunks():
                    writer.write(cast.name, rows.start, values)
                    if scales is not None:
                        writer.write(cast.name + SCALE, rows.start, scales)
                done += cast.stored.nbytes
                self.report("writing tensors", done, total)

    def _origin(self) -> dict[str, Any]:
        """Return the origin of the weights; a converted bundle keeps its own."""
        metadata = self.spec.info.metadata
        if self.source.is_dir():
            return metadata
        size = _size(self.source)
        try:
            checksum = sha256(self.source, _Progress(self.report, "checksum of the source", size))
        except OSError as error:
            raise CheckpointError(f"{self.source} cannot be read: {error.strerror or error}") from None
        training = {name: metadata.get(name) for name in ("epoch", "val_mae")}
        return {"file": self.source.name, "bytes": size, "sha256": checksum, **nan_to_null(training)}

    def _write_sums(self, folder: Path) -> None:
        # The config comes last, so that a truncated list is recognized by its absence.
        config = folder / CONFIG
        files = sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: (file == config, file))
        progress = _Progress(self.report, "checksums of the bundle", sum(map(_size, files)))
        lines = [f"{sha256(file, progress)}  {file.relative_to(folder).as_posix()}\n" for file in files]
        (folder / SUMS).write_text("".join(lines))


class _Progress:
    """Reports the bytes that have been read."""

    def __init__(self, report: Report, what: str, total: int) -> None:
        self._report, self._what, self._total, self._done = report, what, total, 0

    def __call__(self, count: int) -> None:
        self._done += count
        self._report(self._what, self._done, self._total)


def _processor_files(folder: Path) -> dict[Path, Path]:
    """Return the tokenizer files by their name within the folder."""
    files = {file.relative_to(folder): file for file in sorted(folder.rglob("*")) if file.is_file()}
    hidden = {name for name in files if any(part.startswith(".") for part in name.parts)}
    return {name: file for name, file in files.items() if name not in hidden and name.suffix not in _EXCLUDED_SUFFIXES}


def _tensor_specs(cast: TensorCast) -> list[TensorSpec]:
    values = TensorSpec(cast.name, cast.dtype, cast.stored.shape)
    return (
        [values, TensorSpec(cast.name + SCALE, SCALE_DTYPE, cast.scale_shape)] if cast.dtype == torch.int8 else [values]
    )


def _source_state(source: Path) -> list[tuple[Path, int, int, int]]:
    """Return what identifies the source's current content; empty if the source does not exist."""
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    try:
        return [(file, stat.st_ino, stat.st_size, stat.st_mtime_ns) for file in files for stat in [file.stat()]]
    except OSError:
        return []


def _size(file: Path) -> int:
    return file.stat().st_size


def _sync(folder: Path) -> None:
    """Flush the folder to disk, before the rename that declares it complete."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
