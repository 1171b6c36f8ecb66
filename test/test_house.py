"""The house has rooms, and imports go downwards only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

NAME = "simple_clip_lstm_ros"
PACKAGE = Path(__file__).parents[1] / NAME
LINES = 400

ALL = {"language", "control", "policy", "engine", "checkpoint", "sim", "data", "node", "cli"}
MAY_IMPORT = {
    "language": set(),
    "control": set(),
    "policy": {"control", "language"},
    "engine": {"policy"},
    "checkpoint": {"policy", "engine"},
    "sim": {"control"},
    "data": {"policy", "checkpoint", "engine", "control", "sim", "language"},
    "node": ALL - {"cli"},
    "cli": ALL,
}
ONLY_IN = {module: {"node"} for module in ("rclpy", "sensor_msgs", "geometry_msgs", "std_msgs")}
# These run where a second copy of torch would not fit, or would be too slow to start.
WITHOUT_TORCH = ("control/", "sim/", "node/velocity_guard.py", "node/guard.py", "node/dashboard")

FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


@cache
def imported(file: str) -> tuple[str, ...]:
    """Dotted names that a file of the package imports, anywhere in it; our own without the package's name."""
    return tuple(_imported(file))


def _imported(file: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports relatively; write the package's name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (f".{name.removeprefix(NAME + '.')}" if name.startswith(NAME + ".") else name for name in names)


def rooms(file: str) -> set[str]:
    return {name.split(".")[1] for name in imported(file) if name.startswith(".")} & ALL


def files_of(name: str) -> set[str]:
    """The files of the package that `import name` reads: `.policy.inputs.Images` is policy/preprocessing.py."""
    parts = name.removeprefix(".").split(".")
    stems = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return {path for stem in stems for path in (f"{stem}.py", f"{stem}/__init__.py")} & set(FILES)


def reached(file: str) -> set[str]:
    """Every top-level module from outside that importing this file can bring in."""
    seen, waiting, outside = {file}, [file], set()
    while waiting:
        for name in imported(waiting.pop()):
            own = files_of(name) - seen if name.startswith(".") else set()
            seen |= own
            waiting += own
            outside |= set() if name.startswith(".") else {name.partition(".")[0]}
    return outside


def report(offenders: dict[str, object]) -> str:
    """Return a line for each file that breaks the rule."""
    return "\n" + "\n".join(f"{file}: {why}" for file, why in offenders.items())


def test_every_folder_has_a_rule():
    data = {"models", "__pycache__"}
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - data <= ALL
    assert {"control", "policy", "engine", "checkpoint", "node", "cli"} <= {file.split("/")[0] for file in FILES}


def test_imports_go_downwards_only():
    offenders = {}
    for file in FILES:
        own = file.split("/")[0] if "/" in file else ""
        if upwards := rooms(file) - MAY_IMPORT.get(own, set()) - {own}:
            offenders[file] = f"imports {sorted(upwards)}"
    assert not offenders, report(offenders)


def test_ros_is_imported_in_node_only():
    offenders = {}
    for file in FILES:
        outside = {name.partition(".")[0] for name in imported(file)}
        if found := {name for name in outside & set(ONLY_IN) if file.split("/")[0] not in ONLY_IN[name]}:
            offenders[file] = f"imports {sorted(found)}"
    assert not offenders, report(offenders)


def test_what_must_stay_light_reaches_no_torch():
    light = [file for file in FILES if file.startswith(WITHOUT_TORCH)]
    offenders = {file: found for file in light if (found := reached(file) & {"torch", "transformers"})}
    assert light and not offenders, report(offenders)


def test_policy_and_control_reach_no_ros():
    inner = [file for file in FILES if file.startswith(("policy/", "control/"))]
    offenders = {file: found for file in inner if (found := reached(file) & set(ONLY_IN))}
    assert inner and not offenders, report(offenders)


def test_no_file_is_too_long_to_read():
    lengths = {file: len((PACKAGE / file).read_text().splitlines()) for file in FILES}
    offenders = {file: f"{lines} lines" for file, lines in lengths.items() if lines > LINES}
    assert not offenders, report(offenders)


def test_this_test_sees_what_it_looks_for():
    assert rooms("checkpoint/load.py") >= {"policy", "engine", "checkpoint"}
    assert "torch" in reached("checkpoint/load.py") and "torch" in reached("cli/infer.py")
    assert files_of(".policy.inputs.Images") == {"policy/__init__.py", "policy/preprocessing.py"}
