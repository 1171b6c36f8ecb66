"""The lifecycle, again and again: nothing may pile up."""

from __future__ import annotations

import psutil
import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]
CYCLES = 50
SETTLED = 20  # cycles after which caches and pools are what they will be


def held(process):
    return process.memory_info().rss / 1e6, process.num_threads(), process.num_fds()


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
    assert after[1] <= before[1] and after[2] <= before[2], (before, after)
