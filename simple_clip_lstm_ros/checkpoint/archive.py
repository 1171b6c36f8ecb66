"""Read a `.pth` file without running anything in it and without reading its weights.

torch.save writes a zip: `NAME/data.pkl` and one stored (uncompressed) record `NAME/data/KEY` for each storage. The
pickle is read with our own restricted unpickler, which behaves the same on every torch version (torch >= 2.6 refuses
argparse.Namespace, torch 2.3 cannot be configured to allow it). The file is mapped: a tensor is a view of the map until
its values are read.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

from simple_clip_lstm_ros.checkpoint.mapped_file import MappedFile, MappedTensor
from simple_clip_lstm_ros.checkpoint.unpickler import RestrictedUnpickler, TensorRef
from simple_clip_lstm_ros.errors import CheckpointError

_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")


@dataclass(frozen=True)
class Archive:
    """An open `.pth` file. `content` is the unpickled object with a TensorRef in place of each tensor."""

    path: Path
    content: Any
    _records: dict[str, tuple[int, int]]  # storage key -> (offset in the file, bytes)
    _file: MappedFile

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Open the file at `path`.

        Raise CheckpointError for anything but a complete torch.save zip that holds data only.
        """
        try:
            return cls._open(path)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
        except RecursionError:
            raise CheckpointError(f"{path} is damaged: its content is nested too deep") from None

    @classmethod
    def _open(cls, path: Path) -> Archive:
        _check_is_zip(path)
        with path.open("rb") as file:
            try:
                records = _records(path, file)
                mapped = MappedFile(path)
            except zipfile.BadZipFile:
                raise CheckpointError(_describe_truncation(path, file)) from None
        content = RestrictedUnpickler.load(mapped[slice(*_extent(records, "data.pkl", path))], str(path))
        archive = cls(path, content, records, mapped)
        archive._check_extents()
        return archive

    def map_tensor(self, ref: TensorRef) -> MappedTensor:
        offset, _ = self._records[f"data/{ref.key}"]
        return MappedTensor(self._file, ref.dtype, ref.shape, offset + ref.offset * ref.dtype.itemsize, ref.stride)

    def _check_extents(self) -> None:
        for ref in tensor_refs(self.content):
            _, size = self._records.get(f"data/{ref.key}", (0, -1))
            if not _is_within_storage(ref) or size < ref.storage_numel * ref.dtype.itemsize:
                raise CheckpointError(f"{self.path} is damaged: a tensor of shape {list(ref.shape)} has no data")


def _is_within_storage(ref: TensorRef) -> bool:
    """Return whether the view lies within its storage; a file may claim anything."""
    numbers = (ref.offset, ref.storage_numel, *ref.shape, *ref.stride)
    if len(ref.shape) != len(ref.stride) or any(type(number) is not int or number < 0 for number in numbers):
        return False
    reach = ref.offset + sum((n - 1) * s for n, s in zip(ref.shape, ref.stride, strict=True)) + 1
    return not prod(ref.shape) or reach <= ref.storage_numel


def tensor_refs(content: Any) -> Iterator[TensorRef]:
    """Yield every TensorRef in nested dicts, lists and tuples."""
    if isinstance(content, TensorRef):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from tensor_refs(value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from tensor_refs(value)


def _check_is_zip(path: Path) -> None:
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; check the path, or mount the folder that holds it")
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name the checkpoint file in it")
    with path.open("rb") as file:
        start = file.read(len(_LEGACY_MAGIC))
    if not start:
        raise CheckpointError(f"{path} is empty (0 bytes); copy it again")
    if start.startswith(b"PK\x03\x04"):
        return
    if start == _LEGACY_MAGIC:
        raise CheckpointError(
            f"{path} is in the legacy format of torch < 1.6; if you trust it, load it with torch.load(weights_only="
            "False) and torch.save it again"
        )
    if start.startswith(b"\x80"):
        # A bare pickle: reading it detects code, and runs nothing.
        RestrictedUnpickler.load(path.read_bytes(), str(path))
        raise CheckpointError(f"{path} is a bare pickle and not a torch.save file; save it with torch.save")
    raise CheckpointError(f"{path} is not a torch.save file (it begins with {start[:8]!r}); was the right file copied?")


def _records(path: Path, file: IO[bytes]) -> dict[str, tuple[int, int]]:
    """Return the records by name, without the archive's own folder: (offset of the bytes, size)."""
    records = {}
    for info in zipfile.ZipFile(file).infolist():
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(f"{path} was compressed afterwards ({info.filename}); unpack the original file")
        file.seek(info.header_offset)
        header = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        start = info.header_offset + _LOCAL_HEADER.size + header[-2] + header[-1]
        records[info.filename.partition("/")[2]] = (start, info.file_size)
    return records


def _extent(records: dict[str, tuple[int, int]], name: str, path: Path) -> tuple[int, int]:
    if name not in records:
        raise CheckpointError(f"{path} is a zip but not of torch.save: it has no {name}")
    offset, size = records[name]
    return offset, offset + size


def _describe_truncation(path: Path, file: IO[bytes]) -> str:
    """Return an error message with the actual and the expected size.

    The central directory at the end of the file is lost, but data.pkl comes first and contains all sizes.
    """
    size = path.stat().st_size
    file.seek(0)
    header = file.read(_LOCAL_HEADER.size)
    advice = "copy it again"
    if len(header) < _LOCAL_HEADER.size:
        return f"{path} is incomplete: {size} bytes; {advice}"
    name_size, extra_size = _LOCAL_HEADER.unpack(header)[-2:]
    name = file.read(name_size)
    file.seek(extra_size, 1)
    if not name.endswith(b"/data.pkl"):
        return f"{path} is a damaged zip and not of torch.save: it begins with {name[:40]!r}"
    try:
        content = RestrictedUnpickler(file, str(path)).load_checked()
    except pickle.UnpicklingError:
        return f"{path} is incomplete: {size} bytes, cut off within its first record; {advice}"
    storages = {ref.key: ref.storage_numel * ref.dtype.itemsize for ref in tensor_refs(content)}
    # The directory at the end takes 46 bytes and a name per record, and its end record takes 22.
    least = max(file.tell() + sum(storages.values()) + 46 * len(storages) + 22, size + 1)
    return f"{path} is incomplete: {size} bytes, expected at least {least}; {advice}"
