"""The house has rooms, and imports go downwards only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def imported(file: str) -> Iterator[str]:
    """Dotted names that a file of the package imports, anywhere in it; our own without the package's name."""
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


def test_every_folder_is_a_room_of_the_house():
    beside = {"models", "__pycache__"}  # data
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - beside <= ALL
    assert {"control", "policy", "engine", "checkpoint", "node", "cli"} <= {file.split("/")[0] for file in FILES}


@pytest.mark.parametrize("file", FILES)
def test_imports_go_downwards_only(file):
    room = file.split("/")[0] if "/" in file else ""
    assert rooms(file) <= MAY_IMPORT.get(room, set()) | {room}


@pytest.mark.parametrize("file", FILES)
def test_ros_is_spoken_in_the_node_room_only(file):
    outside = {name.partition(".")[0] for name in imported(file)}
    for module, allowed in ONLY_IN.items():
        assert module not in outside or file.split("/")[0] in allowed


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith(WITHOUT_TORCH)])
def test_what_must_stay_light_reaches_no_torch(file):
    assert not reached(file) & {"torch", "transformers"}


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith(("policy/", "control/"))])
def test_brain_and_reflexes_reach_no_ros(file):
    assert not reached(file) & set(ONLY_IN)


@pytest.mark.parametrize("file", FILES)
def test_no_file_is_too_long_to_read(file):
    assert len((PACKAGE / file).read_text().splitlines()) <= LINES


def test_this_test_sees_what_it_looks_for():
    assert rooms("checkpoint/load.py") >= {"policy", "engine", "checkpoint"}
    assert "torch" in reached("checkpoint/load.py") and "torch" in reached("cli/infer.py")
    assert files_of(".policy.inputs.Images") == {"policy/__init__.py", "policy/preprocessing.py"}
