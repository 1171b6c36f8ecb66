"""Packages import downwards only, and what must stay small reaches nothing large."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NAME = "simple_clip_lstm_ros"
PACKAGE = Path(__file__).parents[1] / NAME
MAX_LINES = 400
MAX_TINY = 15  # modules under 50 lines

# Package -> packages that it may import besides itself and the top-level modules.
MAY_IMPORT = {
    "language": set(),
    "control": set(),
    "policy": {"control", "language"},
    "engine": {"policy", "control"},
    "checkpoint": {"policy", "engine", "control", "language"},
    "sim": {"control"},
    "data": {"control", "sim"},
    "evaluation": {"data", "sim", "checkpoint", "engine", "policy", "control", "language"},
    "training": {"data", "evaluation", "sim", "checkpoint", "engine", "policy", "control", "language"},
    "benchmark": {"checkpoint", "engine", "policy", "control"},
    "ros": {"control"},
    "node": {"ros", "control", "policy", "checkpoint", "engine", "data", "language"},
    "recording": {"ros", "data", "control"},
    "dashboard": {"ros", "data", "control", "language"},
    "doctor": {"checkpoint", "engine", "policy", "control", "ros"},
    "harness": {"ros", "sim", "data", "evaluation", "node", "control", "policy", "checkpoint", "engine", "language"},
}
MAY_IMPORT["cli"] = set(MAY_IMPORT)
TOP_LEVEL = {"__init__.py", "errors.py", "files.py", "json_utils.py"}

ROS = {"rclpy", "sensor_msgs", "geometry_msgs", "std_msgs", "std_srvs", "diagnostic_msgs", "nav_msgs", "lifecycle_msgs"}
WITH_ROS = {"ros", "node", "recording", "dashboard", "harness"}
WITHOUT = {
    "language": {"torch", "transformers", "numpy"},
    "control": {"torch", "transformers", "numpy"},
    **{package: {"torch", "transformers"} for package in ("sim", "data", "ros", "recording", "dashboard")},
}

FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def imported(file: str) -> Iterator[str]:
    """Yield the dotted names that a file of the package imports, anywhere in it; our own without the package's name."""
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports relatively; write the package's name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (f".{name.removeprefix(NAME + '.')}" if name.startswith(NAME + ".") else name for name in names)


def package_of(file: str) -> str:
    return file.split("/")[0] if "/" in file else ""


def packages(file: str) -> set[str]:
    return {name.split(".")[1] for name in imported(file) if name.startswith(".")} & set(MAY_IMPORT)


def outside(file: str) -> set[str]:
    """Return the top-level modules from outside that a file imports itself."""
    return {name.partition(".")[0] for name in imported(file) if not name.startswith(".")}


def files_of(name: str) -> set[str]:
    """Return the files of the package that `import name` reads: `.policy.config.X` is policy/config.py."""
    parts = name.removeprefix(".").split(".")
    stems = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return {path for stem in stems for path in (f"{stem}.py", f"{stem}/__init__.py")} & set(FILES)


def reached(file: str) -> tuple[set[str], set[str]]:
    """Return our own files and the outside top-level modules that importing a file can bring in."""
    seen, waiting, modules = {file}, [file], set()
    while waiting:
        for name in imported(waiting.pop()):
            own = files_of(name) - seen if name.startswith(".") else set()
            seen |= own
            waiting += own
            modules |= set() if name.startswith(".") else {name.partition(".")[0]}
    return seen, modules


def test_every_package_and_top_level_module_is_in_the_table():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"models", "__pycache__"}
    assert folders == set(MAY_IMPORT)
    assert {file for file in FILES if "/" not in file} == TOP_LEVEL


def test_imports_go_downwards_only():
    allowed = {package: others | {package} for package, others in MAY_IMPORT.items()} | {"": set()}
    wrong = [f"{file} -> {other}" for file in FILES for other in sorted(packages(file) - allowed[package_of(file)])]
    assert not wrong


def test_ros_is_imported_in_its_packages_only():
    wrong = [f"{file}: {sorted(outside(file) & ROS)}" for file in FILES if package_of(file) not in WITH_ROS | {"cli"}]
    assert not [line for line in wrong if not line.endswith("[]")]


def test_packages_without_torch_import_none():
    found = {file: outside(file) & WITHOUT.get(package_of(file), set()) for file in FILES}
    assert not {file: modules for file, modules in found.items() if modules}


@pytest.mark.parametrize("package", ["policy", "control", "language"])
def test_the_policy_and_the_control_reach_no_ros(package):
    wrong = {file: reached(file)[1] & ROS for file in FILES if package_of(file) == package}
    assert not {file: modules for file, modules in wrong.items() if modules}


def test_the_inference_node_reaches_no_simulation_training_or_evaluation():
    files, modules = reached("node/inference_node.py")
    assert not {package_of(file) for file in files} & {"sim", "training", "evaluation", "benchmark", "harness", "cli"}
    assert not modules & {"skimage", "matplotlib", "shapely", "networkx", "aiohttp", "h5py", "rosbags", "accelerate"}


@pytest.mark.ros
def test_the_guard_loads_ros_and_control_only():
    code = f"import json, sys; import {NAME}.node.velocity_guard; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(ran.stdout.strip().splitlines()[-1]))
    ours = {name.split(".")[1] for name in loaded if name.startswith(f"{NAME}.")}
    assert ours <= {"ros", "control", "node", "errors"}
    assert {name for name in loaded if name.startswith(f"{NAME}.node.")} == {f"{NAME}.node.velocity_guard"}
    assert not loaded & {"sensor_msgs", "cv2", "torch", "transformers"}


def test_files_are_short_and_not_tiny():
    lines = {file: len((PACKAGE / file).read_text().splitlines()) for file in FILES}
    assert not [file for file, count in lines.items() if count > MAX_LINES]
    tiny = [file for file, count in lines.items() if count < 50 and not file.endswith("__init__.py")]
    assert len(tiny) <= MAX_TINY, tiny


def test_these_tests_see_what_they_look_for():
    assert packages("checkpoint/load.py") >= {"policy", "engine", "checkpoint"}
    assert "torch" in reached("checkpoint/load.py")[1] and "torch" in reached("cli/infer.py")[1]
    assert "rclpy" in outside("node/velocity_guard.py")
    assert files_of(".policy.config.PolicyConfig") == {"policy/__init__.py", "policy/config.py"}
