"""The lifecycle, again and again: nothing may pile up."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]
CYCLES = 50
SETTLED = 20  # cycles after which caches and pools are what they will be
# Fast DDS opens a shared-memory port anew, with a thread and a lock file, after a stall in which it seemed dead. What
# our own cycle leaves behind is left behind each time.
NOW_AND_THEN = (CYCLES - SETTLED) // 10


def held(process: psutil.Process) -> tuple[float, list[str], list[str]]:
    """MB, the names of the threads, and what the file descriptors name."""
    proc = Path("/proc", str(process.pid))
    threads = [(task / "comm").read_text().strip() for task in (proc / "task").iterdir()]
    return (
        process.memory_info().rss / 1e6,
        sorted(threads),
        sorted(str(fd.readlink()) for fd in (proc / "fd").iterdir()),
    )


def test_fifty_cycles_hold_on_to_nothing(bench):
    (node,) = psutil.Process(bench.process.pid).children()
    bench.camera = bench.photograph
    for cycle in range(CYCLES):
        assert bench.configure(instruction="go to the cup") and bench.transition("activate"), bench.process.log
        bench.until(lambda: bench.commands and bench.is_moving(), "motion")
        assert bench.transition("deactivate") and bench.transition("cleanup"), bench.process.log
        bench.commands.clear()
        if cycle == SETTLED:
            before = held(node)
    after = held(node)
    assert after[0] - before[0] < 5.0, (before, after)
    for what_was, what_is in zip(before[1:], after[1:], strict=True):
        assert len(what_is) - len(what_was) < NOW_AND_THEN, (what_was, what_is)
