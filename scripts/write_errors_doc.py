#!/usr/bin/env python3
"""Prints docs/errors.md: each error that the package can print, read from its source (in .venv)."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.guard import GuardReason

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "simple_clip_lstm_ros"
OWN = {node.name for node in ast.parse((PACKAGE / "errors.py").read_text()).body if isinstance(node, ast.ClassDef)}
HEAD = """# Every error, by its words

Search here for what you see; `…` stands for what differs. An error of this package is one line that says what is wrong
and what to do; above it stands what the part that prints it is for. What the words do not settle:
[troubleshooting](troubleshooting.md). This page is made from the source by `scripts/write_errors_doc.py`.
"""


def words(node: ast.AST | None, known: dict[str, str]) -> str:
    """A message as a person sees it, with … for each value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(words(part, known) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return words(node.left, known) + words(node.right, known)
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name):
        return known.get(node.value.id, "…")
    return "…"


def constants(tree: ast.Module) -> dict[str, str]:
    """Texts that a module has names for."""
    pairs = [(node.targets[0], node.value) for node in tree.body if isinstance(node, ast.Assign)]
    return {name.id: text for name, value in pairs if isinstance(name, ast.Name) and (text := words(value, {})) != "…"}


def messages(tree: ast.Module, own: Collection[str]) -> Iterator[str]:
    """Yield the message of each error in `own` that the code creates, wherever it is raised."""
    known = constants(tree)
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        name = called.id if isinstance(called, ast.Name) else ""
        if name in own and isinstance(node, ast.Call) and node.args:
            text = " ".join(words(node.args[0], known).split())
            if text.strip("… ;:"):
                yield text


def line(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"- {fence}{text}{fence}"


def section(name: str, file: Path, own: Collection[str]) -> list[str]:
    """Return the lines of a Python file's section; empty if it creates none of these errors."""
    tree = ast.parse(file.read_text())
    found = sorted(set(messages(tree, own)))
    about = (ast.get_docstring(tree) or "").splitlines()[:1]
    return [f"## {name}", "", *about, "", *map(line, found), ""] if found else []


def page() -> str:
    lines = [
        HEAD,
        "## Reasons",
        "",
        "Why the robot stands or moves, on `inference/reason` and `velocity_guard/reason`:",
        "",
    ]
    lines += [line(f"{each.name}: {each.value}") for kind in (Reason, GuardReason) for each in kind]
    lines.append("")
    for file in sorted(PACKAGE.rglob("*.py")):
        lines += section(str(file.relative_to(PACKAGE)), file, OWN)
    for file in sorted((ROOT / "launch").glob("*.py")):
        lines += section(f"launch/{file.name}", file, {"RuntimeError"})
    script = (ROOT / "docker" / "run_simple_clip_lstm_inference.sh").read_text()
    told = sorted(
        re.sub(r"\$\([^)]*\)|\$\{[^}]*\}|\$\w+|\\", "…", text) for text in re.findall(r'fail "(.*?)"$', script, re.M)
    )
    lines += [
        "## docker/run_simple_clip_lstm_inference.sh",
        "",
        "Before the containers start.",
        "",
        *map(line, told),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
