"""Helpers to write files: a failure leaves no partial file and is reported with its reason."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_clip_lstm_ros.errors import CheckpointError, InputError, SimpleClipLstmError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def write_errors_as(error: type[SimpleClipLstmError], path: Path) -> Iterator[None]:
    """Raise `error` instead of an OSError that writing to `path` raises."""
    try:
        yield
    except OSError as problem:
        raise error(f"{path} cannot be written: {problem.strerror or problem}") from problem


def temp_path(path: Path) -> Path:
    """Return the name of `path` while it is incomplete."""
    return path.with_name(f"{path.name}.partial")


def check_writable(path: Path, size: int) -> None:
    """Raise CheckpointError if `path` exists or `size` bytes cannot be written there."""
    with write_errors_as(CheckpointError, path):  # a name may be too long
        taken = path.exists() or path.is_symlink() or temp_path(path).is_symlink()
    if taken:
        raise CheckpointError(f"{path} exists; remove it or choose another name")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise CheckpointError(f"{parent} is not a folder; create it first")
    with write_errors_as(CheckpointError, path):
        tempfile.TemporaryFile(dir=parent).close()
    free = shutil.disk_usage(parent).free
    if free < size:
        raise CheckpointError(f"{parent} has {free / 1e9:.2f} GB free, and {path.name} needs {size / 1e9:.2f} GB")


class ErrorKeepingFile(io.FileIO):
    """A new file for HDF5 that keeps the first write error until `raise_error`.

    HDF5 itself loses write errors and crashes later.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self._error: OSError | None = None

    def raise_error(self) -> None:
        """Raise the first OSError of a write, if there was one."""
        if self._error:
            raise self._error

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._error = self._error or error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
            return self.tell() if size is None else size


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as PNG, SVG or PDF, by the name. Raise InputError if it cannot be written."""
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}") from None
