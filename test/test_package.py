"""What ROS, colcon and pip are told about the package: package.xml, setup.py, requirements/."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from catkin_pkg.package import parse_package
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import simple_clip_lstm_ros

ROOT = Path(__file__).parents[1]
NAME = "simple_clip_lstm_ros"
# Modules whose rosdep key or pip name is another.
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "tokenizers": "transformers",  # which always brings it
    "yaml": "pyyaml",
    # message packages that the declared ones always bring
    "builtin_interfaces": "std_msgs",
    "rcl_interfaces": "rclpy",
}
# Of requirements whose rosdep key is not python3-NAME. None: there is no key.
KEYS = {
    "accelerate": None,
    "opencv-python-headless": "python3-opencv",
    "pillow": "python3-pil",
    "pyyaml": "python3-yaml",
    "rosbags": "python3-rosbags-pip",
    "safetensors": None,
    "transformers": "python3-transformers-pip",
}


@pytest.fixture(scope="module")
def manifest():
    return parse_package(ROOT)


def pip_name(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower()


def test_manifest(manifest):
    assert manifest.name == NAME
    assert manifest.package_format == 3
    assert manifest.get_build_type() == "ament_python"
    assert manifest.licenses == ["Apache-2.0"]
    needed = (
        "rclpy sensor_msgs geometry_msgs std_msgs std_srvs diagnostic_msgs lifecycle_msgs cv_bridge launch launch_ros"
    )
    needed += " ament_index_python python3-opencv python3-psutil python3-numpy python3-yaml"
    assert {d.name for d in manifest.exec_depends} >= set(needed.split())
    assert "python3-pytest" in {d.name for d in manifest.test_depends}


def test_one_version(manifest, setup):
    assert manifest.version == setup["version"] == simple_clip_lstm_ros.__version__


def test_colcon_sees_a_ros_package(tmp_path):
    """An invalid package.xml silently turns the package into plain Python."""
    colcon = [sys.executable, "-m", "colcon", "--log-base", str(tmp_path), "list", "--paths", str(ROOT)]
    listed = subprocess.run(colcon, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(rf"{NAME}\t.*\t\(ros\.ament_python\)\n", listed)


def test_entry_points_lead_somewhere(setup):
    scripts = dict(re.split(r"\s*=\s*", line) for line in setup["entry_points"]["console_scripts"])
    assert set(scripts) >= {"inference_node", "simple_clip_lstm"}
    for target in scripts.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_data_files_are_complete(setup):
    installed = {Path(file): folder for folder, files in setup["data_files"] for file in files}
    assert all((ROOT / file).is_file() for file in installed)
    assert installed[Path("package.xml")] == f"share/{NAME}"
    assert installed[Path("resource", NAME)] == "share/ament_index/resource_index/packages"
    for folder, pattern in ("launch", "*.py"), ("config", "*"):
        files = [f.relative_to(ROOT) for f in (ROOT / folder).rglob(pattern) if f.is_file()]
        assert files
        assert {installed.get(f) for f in files} == {f"share/{NAME}/{folder}"}


def test_every_package_is_installed(setup):
    source = ROOT / NAME
    folders = {str(f.parent.relative_to(ROOT)).replace("/", ".") for f in source.rglob("*.py")}
    assert set(setup["packages"]) == folders  # a folder without __init__.py would be left out


def test_the_models_the_page_and_the_photographs_that_come_with_the_package_are_installed_whole(setup):
    folders = [ROOT / NAME / part for part in ("models", "dashboard/page", "policy/photographs")]
    beside = {f for folder in folders for f in folder.rglob("*") if f.is_file()}
    assert {ROOT / NAME / file for file in setup["package_data"][NAME]} == beside
    assert {f.parent for f in beside} >= {*folders[1:]}


def test_every_import_is_declared(manifest, setup):
    # What only some features need stands in an extra; what only the tests need is not the package's.
    optional = [r for extra, asked in setup["extras_require"].items() if extra != "test" for r in asked]
    asked = {pip_name(r) for r in [*setup["install_requires"], *optional]}
    declared = {d.name for d in manifest.exec_depends} | asked | {NAME}
    missing = set()
    for file in (*(ROOT / NAME).rglob("*.py"), *(ROOT / "launch").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            else:
                continue
            for module in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names):
                if DISTRIBUTIONS.get(module, module) not in declared:
                    missing.add(f"{file.relative_to(ROOT)}: {module}")
    assert not missing


def test_the_manifest_has_the_rosdep_key_of_each_requirement(manifest, setup):
    """Those of rosdep's list of 2026-08-22, and no others."""
    asked = {canonicalize_name(pip_name(r)) for r in [*setup["install_requires"], *setup["extras_require"]["all"]]}
    keys = {KEYS.get(name, f"python3-{name}") for name in asked} - {None}
    assert {d.name for d in manifest.exec_depends if d.name.startswith("python3-")} == keys


def test_constraints_pin_what_is_asked_for(setup):
    newest = (ROOT / "requirements" / "constraints-newest.txt").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", newest.lower(), re.MULTILINE))
    asked = [*setup["install_requires"], *(r for extra in setup["extras_require"].values() for r in extra)]
    assert {pip_name(r) for r in asked} <= set(pinned)


def test_the_oldest_versions_are_those_that_setup_py_asks_for(setup):
    """The range is declared there alone; requirements/constraints-oldest.txt follows from it."""
    lines = (ROOT / "requirements" / "constraints-oldest.txt").read_text().splitlines()
    oldest = {pip_name(line): Version(line.split("==")[1]) for line in lines if "==" in line}
    for asked in map(Requirement, [*setup["install_requires"], *setup["extras_require"]["all"]]):
        for bound in asked.specifier:
            release = Version(bound.version).release
            assert oldest[canonicalize_name(asked.name)].release[: len(release)] == release, asked
    assert setup["python_requires"] == ">=3.10" and "python3.10" in (ROOT / "Makefile").read_text()


def test_colcon_test_finds_pytest(setup):
    """colcon runs pytest for a package whose test extra names it; tests_require is ignored by new setuptools."""
    assert "pytest" in setup["extras_require"]["test"]
    assert "tests_require" not in setup


@pytest.mark.parametrize("chosen, policy", [(None, "PASSIVE"), ("active", "ACTIVE")])
def test_torchs_threads_sleep_while_they_wait_unless_the_user_chose_otherwise(chosen, policy):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "true"} | ({"OMP_WAIT_POLICY": chosen} if chosen else {})
    command = [sys.executable, "-c", f"import {NAME}.policy.policy"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr
    assert f"OMP_WAIT_POLICY = '{policy}'" in told
