"""The file below an HDF5 file that is written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any


class Sink(io.FileIO):
    """A new file below HDF5, which loses errors of writing and then crashes: this one keeps the first until asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self._error: OSError | None = None

    def raise_error(self) -> None:
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
