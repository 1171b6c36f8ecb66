"""What memory there is, as a table for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from simple_clip_lstm_ros.engine.memory import Memory


def memory_table(memory: Memory) -> Table:
    table = Table("memory", "", "GB", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for owner, kind, size in _rows(memory):
        table.add_row(owner, kind, f"{size / 1e9:.3f}")
    return table


def _rows(memory: Memory) -> Iterator[tuple[str, str, int]]:
    yield "process", "resident", memory.process.resident
    yield "", "anonymous", memory.process.anonymous
    yield "", "peak", memory.process.peak
    yield "machine", "total", memory.total
    yield "", "available", memory.available
    if memory.cgroup:
        yield "cgroup", "limit", memory.cgroup.limit
        yield "", "used", memory.cgroup.used
    if memory.cuda:
        shared = ", shared with the CPU" if memory.cuda.shared else ""
        yield f"{memory.cuda.name}{shared}", "total", memory.cuda.total
        yield "", "free", memory.cuda.free
        yield "", "allocated", memory.cuda.allocated
        yield "", "reserved", memory.cuda.reserved
