"""Tables at a terminal: their console and style, and those of memory (GB)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from simple_clip_lstm_ros.engine.memory import Memory
    from simple_clip_lstm_ros.engine.memory_estimate import MemoryEstimate


def memory_table(memory: Memory) -> Table:
    table = Table("memory", "", "GB", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    last = ""
    for owner, kind, size in memory.figures():
        table.add_row("" if owner == last else owner, kind, f"{size / 1e9:.3f}")
        last = owner
    return table


def need_table(needs: Mapping[str, MemoryEstimate], limit: int) -> Table:
    """A column for each way of loading, and what there is for it."""
    table = Table("need (GB)", *needs, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    rows = {
        "weights": [need.weights for need in needs.values()],
        "activations": [need.activations for need in needs.values()],
        "runtime": [need.runtime for need in needs.values()],
        "of them on the GPU": [need.device for need in needs.values()],
        "in all": [need.total for need in needs.values()],
        "peak while loading": [need.peak for need in needs.values()],
    }
    for name, sizes in rows.items():
        if any(sizes):
            table.add_row(name, *(f"{size / 1e9:.2f}" for size in sizes))
    table.add_row("there are", f"{limit / 1e9:.2f}")
    return table


def new_table(title: str, *columns: str) -> Table:
    table = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def make_console() -> Console:
    """On stdout, for tables and text of anybody's choosing; wide where that is no terminal."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 160
    return console
