"""Verify a bundle file by file, so that only broken files need to be copied again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simple_clip_lstm_ros.checkpoint.bundle import Bundle, join_names, list_files, parse_sums, sha256
from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.errors import CheckpointError


@dataclass(frozen=True)
class VerifyResult:
    """Result of a verification: the manifest's `files`, and the problem of each `broken` file, by name."""

    path: Path
    files: tuple[str, ...]
    broken: dict[str, str]

    def __str__(self) -> str:
        """Return the result in one line."""
        if not self.broken:
            return f"{self.path}: {len(self.files)} files are as they were written"
        problems = join_names([f"{name} ({what})" for name, what in self.broken.items()])
        return (
            f"{self.path}: {len(self.broken)} of {len(self.files)} files are not as they were written: {problems}; "
            "copy these again, the others are whole"
        )


def verify(path: Path, report: Callable[[int, int], None]) -> VerifyResult:
    """Check every file of the bundle against its manifest. `report` gets bytes done and in total.

    Raise CheckpointError for a folder that is not a bundle, has extra files, or has intact files that fit no model.
    """
    path = resolve_path(path)
    sums = parse_sums(path)
    sizes = {name: (path / name).stat().st_size for name in sums if (path / name).is_file()}
    total, done = sum(sizes.values()), 0

    def on_read(count: int) -> None:
        nonlocal done
        done += count
        report(done, total)

    broken = {name: what for name, checksum in sums.items() if (what := _find_fault(path / name, checksum, on_read))}
    if extra := sorted(list_files(path) - sums.keys()):
        raise CheckpointError(
            f"{path} holds {join_names(extra)}, which does not belong to the bundle; remove it from the folder"
        )
    if not broken:
        Bundle.open(path)
    return VerifyResult(path, tuple(sums), broken)


def _find_fault(file: Path, checksum: str, on_read: Callable[[int], None]) -> str:
    """Return what is wrong with the file; empty if nothing is."""
    if not file.is_file():
        return "missing"
    try:
        return "" if sha256(file, on_read) == checksum else "its checksum differs"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
