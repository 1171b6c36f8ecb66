"""Two benchmarks' documents, of the same model: which is faster, and at what accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from simple_clip_lstm_ros.cli.benchmark_tables import heading, machine_name, milliseconds, new_table, remarks
from simple_clip_lstm_ros.errors import InputError

# In which two documents must agree, or their times are of other work.
_WORK = ("parameters", "instruction tokens", "config")


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """For JSON. Raises InputError where they are of other models, or have nothing in common."""
    for name in _WORK:
        if old[name] != new[name]:
            told = f": {old[name]} and {new[name]}" if name != "config" else ""
            raise InputError(f"these two are not of the same work and cannot be compared: other {name}{told}")
    names = [name for name in old["ways"] if name in new["ways"]]
    if not names:
        raise InputError(f"nothing in common: {', '.join(old['ways'])} and {', '.join(new['ways'])}")
    decisive = [name for name in old["conditions"] if name != "date"]
    return {
        "same conditions": all(old["conditions"][name] == new["conditions"].get(name) for name in decisive),
        "machines": [machine_name(old), machine_name(new)],
        "ways": {name: _compared(name, old["ways"][name], new["ways"][name]) for name in names},
        "remarks": [f"{when}: {line}" for when, each in (("old", old), ("new", new)) for line in remarks(each)],
    }


def _compared(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    times = {"frame": (old["frame"]["p50"], new["frame"]["p50"])}
    for component, found in old["components"].items():
        if component in new["components"]:
            times[component] = (found["p50"], new["components"][component]["p50"])
    return {
        "way": " -> ".join(dict.fromkeys(heading(name, way) for way in (old, new))),
        "p50": {what: {"old": a, "new": b, "ratio": b / a} for what, (a, b) in times.items() if a},
        "error": {"old": _worst(old), "new": _worst(new)},
    }


def _worst(way: Mapping[str, Any]) -> float | None:
    """Error of the worst action over its standard deviation; None where it is not known."""
    errors = way["error"]["actions"].values() if way["error"] else [None]
    return None if None in errors else max(errors)


def comparison_table(found: Mapping[str, Any]) -> Table:
    old, new = found["machines"]
    title = "same machine and versions" if found["same conditions"] else f"{old}\n{new}: other machines or versions"
    columns = ("", "", "old p50 ms", "new p50 ms", "new / old", "old error", "new error")
    table = new_table(title, *columns)
    table.columns[1].justify = "left"
    for way in found["ways"].values():
        for what, times in way["p50"].items():
            times = [milliseconds(times["old"]), milliseconds(times["new"]), f"{times['ratio']:.2f}"]
            whole = what == "frame"
            errors = [_percent(way["error"][when]) for when in ("old", "new")] if whole else []
            table.add_row(way["way"] if whole else "", what, *times, *errors)
    return table


def _percent(error: float | None) -> str:
    return "" if error is None else f"{error:.2%}"
