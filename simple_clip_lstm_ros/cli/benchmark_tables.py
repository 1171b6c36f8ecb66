"""Tables of a benchmark document for the terminal, and the comparison of two documents. Times in ms."""

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
_MIN_ROUNDS, _MIN_SECONDS = 20, 60.0
_MAX_CONTENTION = 0.05  # share of the CPUs; more use by other processes makes the figures too slow


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
    """Return the tables of frames, components, and of the node if it was measured."""
    tables = [_frame_table(document["ways"]), _component_table(document["ways"])]
    return tables + ([_node_table(document["node"])] if document["node"] else [])


def config_table(config: Mapping[str, Any]) -> Table:
    """Return the times of a configuration by component, with the machine's lower bounds."""
    table = new_table("", "component", "p50 ms", "limit ms", "share")
    rows = {name: (seconds["p50"], config["limits"].get(name)) for name, seconds in config["components"].items()}
    for name, (seconds, limit) in (rows | {"frame": (config["frame"]["p50"], config["limit"])}).items():
        cells = [milliseconds(limit), f"{limit / seconds:.0%}"] if limit and seconds else ["", ""]
        table.add_row(name, milliseconds(seconds), *cells)
    return table


def limits_table(document: Mapping[str, Any]) -> Table:
    """Return the machine's peak rates and the least time of a full-size frame.

    A precision that the machine cannot compute in may be upcast.
    """
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
    environment = document["conditions"]
    return f"{environment['device']}, {environment['threads']} threads, torch {environment['versions']['torch']}"


def _frame_table(configs: Mapping[str, Any]) -> Table:
    """Return a table with a column for each configuration, to fit a narrow terminal."""
    table = new_table("", "whole frame", *(heading(name, config) for name, config in configs.items()))
    for name, cell in _frame_rows(configs.get(BASELINE)).items():
        cells = [cell(config) for config in configs.values()]
        if any(cells):
            table.add_row(name, *cells)
    return table


def _frame_rows(baseline: Mapping[str, Any] | None) -> dict[str, Callable[[Mapping[str, Any]], str]]:
    """Return for each row name the function from a configuration to its cell."""
    rows: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "p50 ms": lambda config: milliseconds(config["frame"]["p50"]),
        "p90 ms": lambda config: milliseconds(config["frame"]["p90"]),
        "p99 ms": lambda config: milliseconds(config["frame"]["p99"]),
        "frames per second": lambda config: f"{1.0 / config['frame']['p50']:.2f}",
        "share of the limit": lambda config: f"{config['share']:.0%}",
        "load s": lambda config: f"{config['load']:.1f}",
        "resident GB": lambda config: f"{config['resident'] / 1e9:.2f}",
        "anonymous GB": lambda config: f"{config['anonymous'] / 1e9:.2f}",
        "peak of loading GB": lambda config: f"{config['peak'] / 1e9:.2f}",
        "GPU GB": lambda config: f"{config['gpu'] / 1e9:.2f}" if config["gpu"] is not None else "",
        "CPUs kept busy": lambda config: f"{config['cores']:.2f}",
    }
    if baseline:
        rows["times the baseline"] = lambda config: f"{baseline['frame']['p50'] / config['frame']['p50']:.2f}"
        for name in baseline["error"]["features"]:
            rows[f"error of {name}"] = partial(_error, "error", "features", name)
        for axis in baseline["error"]["actions"]:
            rows[f"error of {axis}"] = partial(_error, "error", "actions", axis)
            rows[f"{axis}, last quarter"] = partial(_error, "late_error", "actions", axis)
    return rows


def _error(span: str, kind: str, name: str, config: Mapping[str, Any]) -> str:
    share = config[span][kind][name]
    return "constant" if share is None or share != share else f"{share:.2%}"


def _component_table(configs: Mapping[str, Any]) -> Table:
    table = new_table("", "component, p50 (limit)", *(heading(name, config) for name, config in configs.items()))
    for component in dict.fromkeys(name for config in configs.values() for name in config["components"]):
        cells = [
            _format_with_limit(config["components"].get(component), config["limits"].get(component))
            for config in configs.values()
        ]
        table.add_row(component, *cells)
    table.add_row("frame", *(_format_with_limit(config["frame"], config["limit"]) for config in configs.values()))
    return table


def _format_with_limit(seconds: Mapping[str, float] | None, limit: float | None) -> str:
    if not seconds or not seconds["p50"]:  # CLIP's text tower runs only for a new instruction
        return ""
    return milliseconds(seconds["p50"]) + (f" ({milliseconds(limit)})" if limit else "")


def _node_table(node: Mapping[str, Any]) -> Table:
    drives = node["drives"]
    table = new_table("", f"node at {node['way']}, images of 640x480, ms", *drives)
    labels = {
        "transport": "transport",
        "overhead": "the node's overhead",
        "latency": "a step",
        "tick_wait": "wait for the tick",
    }
    for name, label in labels.items():
        for kind in ("p50", "p99"):
            table.add_row(f"{label}, {kind}", *(milliseconds(drive[name][kind]) for drive in drives.values()))
    table.add_row("configure to first action", *(milliseconds(drive["first_action"]) for drive in drives.values()))
    table.add_row("commands, Hz", *(f"{drive['commands']['rate']:.2f}" for drive in drives.values()))
    table.add_row("commands within 20 %", *(f"{drive['commands']['on_time']:.1%}" for drive in drives.values()))
    return table


def remarks(document: Mapping[str, Any]) -> list[str]:
    """Return the warnings that a reader of the figures needs."""
    lines, configs = [], document["ways"]
    if document["rounds"] < _MIN_ROUNDS and any(sum(config["seconds"]) < _MIN_SECONDS for config in configs.values()):
        lines.append(f"{document['rounds']} frames are few: take {_MIN_ROUNDS} or more; p99 is nearly the slowest")
    for name, config in configs.items():
        if config["others"] > _MAX_CONTENTION:
            lines.append(
                f"{name}: other processes used {config['others']:.0%} of the CPUs meanwhile; these times are too long"
            )
        if config["faults"]:
            lines.append(
                f"{name}: {config['faults']} pages were read from disk meanwhile: memory does not hold all at once"
            )
        if config["passes"] is False:
            lines.append(f"{name}: an action's error exceeds {config['gate']:.0%} of its standard deviation")
    if document["baseline"] and document["baseline"]["stored"] != "fp32":
        stored = document["baseline"]["stored"]
        lines.append(f"the baseline's weights are stored at {stored}: what that rounding costs is not in the errors")
    if document["untrained"]:
        lines.append("the weights are untrained (random): times are those of trained ones, errors of actions are not")
    if document["cut"]:
        lines.append(f"the model is pruned: {document['cut']}")
    return lines


def heading(name: str, config: Mapping[str, Any]) -> str:
    return name if name == BASELINE else f"{config['precision']} {config['engine']}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


FORMAT = 1


def check_writable_file(path: Path) -> None:
    """Raise InputError if `path` cannot be created; to be called before minutes of measuring."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path} cannot be written: it is a folder, or its folder does not exist")


def read_benchmark(path: Path) -> dict[str, Any]:
    """Load a benchmark document. Raise InputError for another format or one without measured configurations."""
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


# Two documents must agree in these, or their times are of different work.
_MUST_MATCH = ("parameters", "instruction tokens", "config")


def compare_documents(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the comparison as a JSON document.

    Raise InputError if the documents are of different models or have no configuration in common.
    """
    for name in _MUST_MATCH:
        if old[name] != new[name]:
            values = f": {old[name]} and {new[name]}" if name != "config" else ""
            raise InputError(f"these two are not of the same work and cannot be compared: other {name}{values}")
    names = [name for name in old["ways"] if name in new["ways"]]
    if not names:
        raise InputError(f"nothing in common: {', '.join(old['ways'])} and {', '.join(new['ways'])}")
    compared = [name for name in old["conditions"] if name != "date"]
    return {
        "same conditions": all(old["conditions"][name] == new["conditions"].get(name) for name in compared),
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
        "way": " -> ".join(dict.fromkeys(heading(name, config) for config in (old, new))),
        "p50": {what: {"old": a, "new": b, "ratio": b / a} for what, (a, b) in times.items() if a},
        "error": {"old": _worst_error(old), "new": _worst_error(new)},
    }


def _worst_error(config: Mapping[str, Any]) -> float | None:
    """Return the largest action error relative to its standard deviation; None if unknown."""
    errors = config["error"]["actions"].values() if config["error"] else [None]
    return None if None in errors else max(errors)


def comparison_table(comparison: Mapping[str, Any]) -> Table:
    old, new = comparison["machines"]
    title = (
        "same machine and versions" if comparison["same conditions"] else f"{old}\n{new}: other machines or versions"
    )
    columns = ("", "", "old p50 ms", "new p50 ms", "new / old", "old error", "new error")
    table = new_table(title, *columns)
    table.columns[1].justify = "left"
    for config in comparison["ways"].values():
        for what, times in config["p50"].items():
            times = [milliseconds(times["old"]), milliseconds(times["new"]), f"{times['ratio']:.2f}"]
            is_frame = what == "frame"
            errors = [_percent(config["error"][when]) for when in ("old", "new")] if is_frame else []
            table.add_row(config["way"] if is_frame else "", what, *times, *errors)
    return table


def _percent(error: float | None) -> str:
    return "" if error is None else f"{error:.2%}"
