"""Monitored child processes for the benchmarks: run time, peak memory, and an optional memory limit."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from simple_clip_lstm_ros.benchmark.environment import collect_env, format_env


@dataclass
class Peaks:
    """Largest resident and anonymous memory of a process, in bytes, from /proc."""

    pid: int
    resident: int = 0
    anonymous: int = 0

    def sample(self) -> None:
        """Update the peaks: `resident` is the kernel's high-water mark, `anonymous` the largest sample."""
        try:
            rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
            status = Path(f"/proc/{self.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return
        self.anonymous = max(self.anonymous, _bytes(rollup, "Anonymous:"))
        self.resident = max(self.resident, _bytes(status, "VmHWM:"))

    def __str__(self) -> str:
        return f"{self.resident / 1e9:.2f} | {self.anonymous / 1e9:.2f}"


@dataclass
class Watched:
    """The result of a process; `killed` means SIGKILL, by the memory limit."""

    peaks: Peaks
    seconds: float = 0.0
    output: str = ""
    code: int = 0
    killed: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.killed = self.code in (-9, 137)


def watch(command: Sequence[object], *, limit: int = 0, environment: dict[str, str] | None = None) -> Watched:
    """Run a command to its end and return its result.

    It runs in a memory cgroup of `limit` bytes if that is not 0. Raise OSError if no cgroup can be created.
    """
    begin = time.monotonic()
    with _memory_cgroup(limit) as enter:
        try:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=enter,
                env=os.environ | (environment or {}),
            )
        except subprocess.SubprocessError as error:  # of preexec_fn
            raise OSError(f"a process cannot enter the group: {error}") from None
        peaks = Peaks(process.pid)
        while process.poll() is None:
            sample_begin = time.monotonic()
            peaks.sample()
            # The process is stopped while the kernel reads gigabytes of page tables: use a tenth of the time at most.
            time.sleep(max(0.02, 9.0 * (time.monotonic() - sample_begin)))
        output = process.stdout.read() if process.stdout else ""
    return Watched(peaks, time.monotonic() - begin, output, process.returncode)


@contextmanager
def _memory_cgroup(limit: int) -> Iterator[Callable[[], None] | None]:
    """Create a memory cgroup (v1 or v2); yield the function by which a child enters it."""
    if not limit:
        yield None
        return
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root, file = (v1, "memory.limit_in_bytes") if v1.is_dir() else (v2, "memory.max")
    group = root / f"simple_clip_lstm_{os.getpid()}"
    group.mkdir()
    try:
        (group / file).write_text(str(limit))
        procs = str(group / "cgroup.procs")
        yield lambda: Path(procs).write_text(str(os.getpid())) and None
    finally:
        group.rmdir()


def machine() -> str:
    """Return one line that describes this machine and its versions."""
    return format_env(collect_env(torch.device("cpu")))


def _bytes(text: str, name: str) -> int:
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(name)), 0)
