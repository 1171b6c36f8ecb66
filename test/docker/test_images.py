"""What the images are built from: files that linters and a schema hold, versions that are pinned and can be had."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
MACHINES = ("jetson", "cuda", "cpu")
DOCKERFILES = ("Dockerfile", "Dockerfile.jetson")
REQUIREMENTS = ROOT / "requirements"
# ROS 2 distribution -> its Python.
PYTHONS = {"humble": "3.10", "jazzy": "3.12"}
IMPORTS = """
import importlib, json
from importlib.metadata import distributions
for module in ("numpy", "cv2", "aiohttp", "h5py", "matplotlib", "networkx", "PIL", "prompt_toolkit", "psutil", "rich",
               "rosbags.rosbag2", "safetensors", "shapely", "transformers", "yaml"):
    importlib.import_module(module)
print(json.dumps({each.name.lower().replace("_", "-"): each.version for each in distributions()}))
"""


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_runs_as_no_root_is_made_in_stages_and_pinned(dockerfile: str) -> None:
    text = (DOCKER / dockerfile).read_text()
    assert re.findall(r"^USER (.*)", text, re.MULTILINE) == ["1000:1000"]
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) >= 3
    named = re.findall(r"^(?:FROM|ARG BASE_IMAGE=) ?(\S+)", text, re.MULTILINE)
    assert all(":" in image or "BASE_IMAGE" in image for image in named)
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
    assert all((ROOT / each).exists() for each in copied)


def test_what_an_image_copies_is_not_ignored() -> None:
    kept = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept >= {"simple_clip_lstm_ros", "launch", "config", "resource", "package.xml", "setup.py", "setup.cfg"}
    assert kept >= {"docker/install_python.sh", "docker/run_with_ros.sh", "docker/launch_inference.sh"}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_guard_outlives_the_inference_node_and_neither_writes_checkpoints(compose: dict, machine: str) -> None:
    guard, node = (compose["services"][f"{name}-{machine}"] for name in ("guard", "inference"))
    assert guard["restart"] == "always" and node["restart"].startswith("on-failure")
    assert guard["image"] == node["image"] == f"simple_clip_lstm_ros:{machine}"
    for service in (guard, node):
        assert service["network_mode"] == service["ipc"] == "host" and service["user"]
        assert "/run_with_ros.sh" in service["healthcheck"]["test"] and "healthcheck" in service["healthcheck"]["test"]
    assert any(volume.endswith(":/checkpoints:ro") for volume in node["volumes"])
    assert guard["environment"]["FASTRTPS_DEFAULT_PROFILES_FILE"].endswith("fastdds_guard.xml")
    assert guard["oom_score_adj"] < 0 < node["oom_score_adj"]
    assert guard["command"][0] == "velocity_guard"  # that hears the signal itself, and commands a last zero


def test_a_gpu_is_given_to_those_that_have_one(compose: dict) -> None:
    assert compose["services"]["inference-jetson"]["runtime"] == "nvidia"
    (device,) = compose["services"]["inference-cuda"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]


def test_the_variables_of_the_launch_script_are_those_that_compose_passes_on(compose: dict, tmp_path: Path) -> None:
    passed = set(compose["services"]["inference-cpu"]["environment"]) - set(compose["x-process"]["environment"])
    ros2 = tmp_path / "ros2"
    ros2.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    ros2.chmod(0o755)
    given = {name: f"the {name.lower()}" for name in passed} | {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    told = subprocess.check_output([DOCKER / "launch_inference.sh"], env=given, text=True).splitlines()
    assert told[:4] == ["launch", "simple_clip_lstm_ros", "inference.launch.py", "guard:=external"]
    assert set(told[4:]) == {f"{name.lower()}:=the {name.lower()}" for name in passed}
    empty = subprocess.check_output([DOCKER / "launch_inference.sh"], env={"PATH": given["PATH"]}, text=True)
    assert len(empty.splitlines()) == 4


def test_the_torch_of_an_image_is_the_one_that_is_tested() -> None:
    pin = re.search(r'^torch="(.*)"', (DOCKER / "install_python.sh").read_text(), re.MULTILINE)
    assert pin and pin[1] in (REQUIREMENTS / "constraints-newest.txt").read_text().splitlines()


@pytest.mark.parametrize("distribution", PYTHONS)
def test_the_libraries_of_an_image_are_within_the_range(distribution: str, setup: dict[str, Any]) -> None:
    lines = (REQUIREMENTS / f"docker-{distribution}.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    for each in map(Requirement, [*setup["install_requires"], *setup["extras_require"]["all"]]):
        name = canonicalize_name(each.name)
        assert name == "torch" or each.specifier.contains(pinned[name]), each
    assert pinned["numpy"].startswith("1.26.")  # ROS's messages are built for NumPy 1


def build_of(compose: dict, machine: str) -> tuple[str, dict[str, str]]:
    """The Dockerfile of a machine's services, and the arguments that compose gives it."""
    builds = [compose["services"][f"{name}-{machine}"]["build"] for name in ("guard", "inference")]
    assert builds[0] == builds[1] and "BASE_IMAGE" in builds[0]["args"]
    folder, _, dockerfile = builds[0]["dockerfile"].partition("/")
    assert folder == DOCKER.name
    return dockerfile, dict(each.split("=") for each in builds[0]["args"] if "=" in each)


def test_cpu_and_cuda_share_a_dockerfile_and_differ_in_the_pytorch_alone(compose: dict) -> None:
    cpu, cuda = build_of(compose, "cpu"), build_of(compose, "cuda")
    assert cpu == ("Dockerfile", {"TORCH_BACKEND": "cpu"}) and cuda == ("Dockerfile", {"TORCH_BACKEND": "cu130"})
    assert build_of(compose, "jetson") == ("Dockerfile.jetson", {})
    assert "\nARG TORCH_BACKEND=cpu\n" in (DOCKER / "Dockerfile").read_text()
    assert sorted(path.name for path in DOCKER.glob("Dockerfile*")) == [*DOCKERFILES]


def interpreter(version: str) -> str | None:
    """A Python of that version on this machine, beside this one too."""
    beside = sorted(Path(sys.base_prefix).parent.glob(f"{version}*/bin/python{version}"))
    for candidate in (shutil.which(f"python{version}"), *map(str, beside)):
        if candidate and subprocess.run([candidate, "-c", "pass"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def step(dockerfile: str, python: Path) -> str:
    """The command that installs the Python libraries, into that folder."""
    (found,) = re.findall(
        r"^RUN ((?:.*\\\n)*.*/install_python\.sh .*)", (DOCKER / dockerfile).read_text(), re.MULTILINE
    )
    return (
        found.replace("/opt/python", str(python))
        .replace("/tmp/docker-", f"{REQUIREMENTS}/docker-")
        .replace("/tmp/install_python.sh", f"{DOCKER}/install_python.sh")
    )


@pytest.mark.full
@pytest.mark.parametrize("machine, version", [("jetson", PYTHONS["humble"]), ("cpu", PYTHONS["jazzy"])])
def test_the_install_step_of_an_image_works(compose: dict, machine: str, version: str, tmp_path: Path) -> None:
    """The very command, in a clean environment; PyTorch is a stub, and the package index of a Jetson's base is gone."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    subprocess.run([python, "-m", "venv", tmp_path / "image"], check=True)
    (packages,) = (tmp_path / "image").glob("lib/python*/site-packages")
    (packages / "torch.py").touch()
    own = {"PATH": "/usr/bin:/bin", "PYTHON": str(tmp_path / "image" / "bin" / "python"), "HOME": str(tmp_path)}
    gone = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_EXTRA_INDEX_URL": "http://127.0.0.1:9/"}
    dockerfile, arguments = build_of(compose, machine)
    environment = own | arguments | (gone if machine == "jetson" else {})
    subprocess.run(step(dockerfile, tmp_path / "python"), shell=True, env=environment, check=True, timeout=900)
    told = subprocess.run(
        [own["PYTHON"], "-c", IMPORTS],
        env=own | {"PYTHONPATH": str(tmp_path / "python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout.splitlines()[-1])["numpy"].startswith("1.26.")


@pytest.mark.full
def test_a_board_needs_no_compiler(tmp_path: Path) -> None:
    """There is a wheel of each library for it: Ubuntu 22.04 has glibc 2.35."""
    tags = ["any", "manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 36))]
    board = ["--python-version", PYTHONS["humble"], "--implementation", "cp", *(f"--platform={tag}" for tag in tags)]
    words = ["install", "--dry-run", "--no-deps", "--only-binary=:all:", "--target", str(tmp_path), *board]
    requirements = REQUIREMENTS / "docker-humble.txt"
    found = subprocess.run([sys.executable, "-m", "pip", *words, "-r", requirements], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_a_base_without_torch_is_refused_in_words(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\n[ "$1" = -m ] || exit 1\n')  # that installs anything and can import nothing
    python.chmod(0o755)
    words = [DOCKER / "install_python.sh", tmp_path / "out", REQUIREMENTS / "docker-humble.txt"]
    ran = subprocess.run(words, env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)}, capture_output=True, text=True)
    assert ran.returncode == 1 and "has no PyTorch that imports; name another BASE_IMAGE" in ran.stderr
