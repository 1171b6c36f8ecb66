"""Tables for the terminal: console, style, and the tables of memory (GB)."""

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


def estimate_table(estimates: Mapping[str, MemoryEstimate], limit: int) -> Table:
    """Return a table with a column for each memory estimate.

    The last row is `limit`, the available memory in bytes.
    """
    table = Table("need (GB)", *estimates, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    rows = {
        "weights": [each.weights for each in estimates.values()],
        "activations": [each.activations for each in estimates.values()],
        "runtime": [each.runtime for each in estimates.values()],
        "of them on the GPU": [each.device for each in estimates.values()],
        "in all": [each.total for each in estimates.values()],
        "peak while loading": [each.peak for each in estimates.values()],
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
    """Return a console on stdout, 160 columns wide if that is not a terminal.

    Markup is off, since names in files are untrusted.
    """
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 160
    return console
