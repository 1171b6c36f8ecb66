"""A benchmark's document as tables for people. Times in ms."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from simple_clip_lstm_ros.cli.tables import make_console, new_table
from simple_clip_lstm_ros.errors import InputError, first_line, printable

BASELINE = "baseline"
_ENOUGH_ROUNDS, _ENOUGH_SECONDS = 20, 60.0
_NOTICEABLE = 0.05  # of the CPUs, used by others: figures are worse than they should be


def print_tables(document: Mapping[str, Any]) -> None:
    console = make_console()
    for line in _head(document):
        console.print(printable(line))
    for table in document_tables(document):
        console.print()
        console.print(table)
    for line in remarks(document):
        console.print(printable(line))


def document_tables(document: Mapping[str, Any]) -> list[Table]:
    """Whole frames, components, and the node around them."""
    found = [_frame_table(document["ways"]), _component_table(document["ways"])]
    return found + ([_node_table(document["node"])] if document["node"] else [])


def config_table(way: Mapping[str, Any]) -> Table:
    """One way by component, beside what the machine takes at least."""
    table = new_table("", "component", "p50 ms", "limit ms", "share")
    rows = {name: (seconds["p50"], way["limits"].get(name)) for name, seconds in way["components"].items()}
    for name, (seconds, limit) in (rows | {"frame": (way["frame"]["p50"], way["limit"])}).items():
        beside = [milliseconds(limit), f"{limit / seconds:.0%}"] if limit and seconds else ["", ""]
        table.add_row(name, milliseconds(seconds), *beside)
    return table


def limits_table(document: Mapping[str, Any]) -> Table:
    """What the machine can do, and so the least time of a full-size frame; weights may be widened for it."""
    title = f"{machine_name(document)}, read {document['bandwidth'] / 1e9:.1f} GB/s"
    table = new_table(title, "precision", "operations a second", "a frame at full size takes at least")
    for precision, seconds in document["limits"].items():
        table.add_row(precision, f"{document['rates'][precision] / 1e9:.0f} G", f"{seconds * 1e3:.1f} ms")
    return table


def _head(document: Mapping[str, Any]) -> list[str]:
    rates = ", ".join(f"{name} {rate / 1e9:.0f} G" for name, rate in document["rates"].items())
    return [
        f"{document['checkpoint']}: {document['parameters']:,} parameters, {document['rounds']} photographs, "
        f"an instruction of {document['instruction tokens']} tokens",
        f"{machine_name(document)}: operations a second {rates}; read {document['bandwidth'] / 1e9:.1f} GB/s",
    ]


def machine_name(document: Mapping[str, Any]) -> str:
    told = document["conditions"]
    return f"{told['device']}, {told['threads']} threads, torch {told['versions']['torch']}"


def _frame_table(ways: Mapping[str, Any]) -> Table:
    """A column for each way, so that it fits a narrow terminal."""
    table = new_table("", "whole frame", *(heading(name, way) for name, way in ways.items()))
    for name, cell in _frame_rows(ways.get(BASELINE)).items():
        cells = [cell(way) for way in ways.values()]
        if any(cells):
            table.add_row(name, *cells)
    return table


def _frame_rows(baseline: Mapping[str, Any] | None) -> dict[str, Callable[[Mapping[str, Any]], str]]:
    """What a row says of a way."""
    rows: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "p50 ms": lambda way: milliseconds(way["frame"]["p50"]),
        "p90 ms": lambda way: milliseconds(way["frame"]["p90"]),
        "p99 ms": lambda way: milliseconds(way["frame"]["p99"]),
        "frames per second": lambda way: f"{1.0 / way['frame']['p50']:.2f}",
        "share of the limit": lambda way: f"{way['share']:.0%}",
        "load s": lambda way: f"{way['load']:.1f}",
        "resident GB": lambda way: f"{way['resident'] / 1e9:.2f}",
        "anonymous GB": lambda way: f"{way['anonymous'] / 1e9:.2f}",
        "peak of loading GB": lambda way: f"{way['peak'] / 1e9:.2f}",
        "GPU GB": lambda way: f"{way['gpu'] / 1e9:.2f}" if way["gpu"] is not None else "",
        "CPUs kept busy": lambda way: f"{way['cores']:.2f}",
    }
    if baseline:
        rows["times the baseline"] = lambda way: f"{baseline['frame']['p50'] / way['frame']['p50']:.2f}"
        for name in baseline["error"]["features"]:
            rows[f"error of {name}"] = partial(_error, "error", "features", name)
        for axis in baseline["error"]["actions"]:
            rows[f"error of {axis}"] = partial(_error, "error", "actions", axis)
            rows[f"{axis}, last quarter"] = partial(_error, "late_error", "actions", axis)
    return rows


def _error(span: str, kind: str, name: str, way: Mapping[str, Any]) -> str:
    share = way[span][kind][name]
    return "constant" if share is None or share != share else f"{share:.2%}"


def _component_table(ways: Mapping[str, Any]) -> Table:
    table = new_table("", "component, p50 (limit)", *(heading(name, way) for name, way in ways.items()))
    for component in dict.fromkeys(name for way in ways.values() for name in way["components"]):
        cells = [
            _format_with_limit(way["components"].get(component), way["limits"].get(component)) for way in ways.values()
        ]
        table.add_row(component, *cells)
    table.add_row("frame", *(_format_with_limit(way["frame"], way["limit"]) for way in ways.values()))
    return table


def _format_with_limit(seconds: Mapping[str, float] | None, limit: float | None) -> str:
    if not seconds or not seconds["p50"]:  # CLIP's text tower runs for a new instruction only
        return ""
    return milliseconds(seconds["p50"]) + (f" ({milliseconds(limit)})" if limit else "")


def _node_table(node: Mapping[str, Any]) -> Table:
    drives = node["drives"]
    table = new_table("", f"node at {node['way']}, images of 640x480, ms", *drives)
    names = {
        "transport": "transport",
        "overhead": "the node's overhead",
        "latency": "a step",
        "tick_wait": "wait for the tick",
    }
    for name, told in names.items():
        for kind in ("p50", "p99"):
            table.add_row(f"{told}, {kind}", *(milliseconds(found[name][kind]) for found in drives.values()))
    table.add_row("configure to first action", *(milliseconds(found["first_action"]) for found in drives.values()))
    table.add_row("commands, Hz", *(f"{found['commands']['rate']:.2f}" for found in drives.values()))
    table.add_row("commands within 20 %", *(f"{found['commands']['on_time']:.1%}" for found in drives.values()))
    return table


def remarks(document: Mapping[str, Any]) -> list[str]:
    """What must be known of the figures."""
    lines, ways = [], document["ways"]
    if document["rounds"] < _ENOUGH_ROUNDS and any(sum(way["seconds"]) < _ENOUGH_SECONDS for way in ways.values()):
        lines.append(f"{document['rounds']} frames are few: take {_ENOUGH_ROUNDS} or more; p99 is nearly the slowest")
    for name, way in ways.items():
        if way["others"] > _NOTICEABLE:
            lines.append(
                f"{name}: other processes used {way['others']:.0%} of the CPUs meanwhile; these times are too long"
            )
        if way["faults"]:
            lines.append(
                f"{name}: {way['faults']} pages were read from disk meanwhile: memory does not hold all at once"
            )
        if way["passes"] is False:
            lines.append(f"{name}: an action's error exceeds {way['gate']:.0%} of its standard deviation")
    if document["baseline"] and document["baseline"]["stored"] != "fp32":
        stored = document["baseline"]["stored"]
        lines.append(f"the baseline's weights are stored at {stored}: what that rounding costs is not in the errors")
    if document["untrained"]:
        lines.append("the weights are untrained (random): times are those of trained ones, errors of actions are not")
    if document["cut"]:
        lines.append(f"the model is cut: {document['cut']}")
    return lines


def heading(name: str, way: Mapping[str, Any]) -> str:
    return name if name == BASELINE else f"{way['precision']} {way['engine']}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


FORMAT = 1


def check_writable_file(path: Path) -> None:
    """Before minutes of measuring. Raises InputError where no file can be made."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path} cannot be written: it is a folder, or its folder does not exist")


def read_document(path: Path) -> dict[str, Any]:
    """Raises InputError for what is no document of this format, with the measured ways of a model in it."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from None
    if not isinstance(document, dict) or "format" not in document:
        raise InputError(f"{path} is not what `simple_clip_lstm benchmark CHECKPOINT --save FILE` writes")
    if document["format"] != FORMAT:
        raise InputError(f"{path} has format {document['format']}, and this version reads {FORMAT}: measure again")
    if not document.get("ways"):
        raise InputError(f"{path} tells the machine's limits alone: measure again with a CHECKPOINT")
    return document


# In which two documents must agree, or their times are of other work.
_WORK = ("parameters", "instruction tokens", "config")


def compare_documents(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
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
        "ways": {name: _compare_cases(name, old["ways"][name], new["ways"][name]) for name in names},
        "remarks": [f"{when}: {line}" for when, each in (("old", old), ("new", new)) for line in remarks(each)],
    }


def _compare_cases(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
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
