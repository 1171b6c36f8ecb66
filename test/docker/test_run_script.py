"""The start script on a machine whose docker is a stub: what it refuses, and what it starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docker" / "run_simple_clip_lstm_inference.sh"
# Notes how it is called; what fails, and with what, the environment says.
DOCKER = """#!/bin/bash
echo "$CHECKPOINTS $CHECKPOINT $ROBOT_USER $RENDER_GROUP $ROS_DOMAIN_ID: $*" >>"$CALLS"
case "$*" in
  "info --format {{json .Runtimes}}") echo "${RUNTIMES-{\\"nvidia\\": {\\}\\}}" ;;
  "info --format {{.DockerRootDir}}") echo / ;;
  info) exit "${NO_DAEMON:-0}" ;;
  "compose version") exit "${NO_COMPOSE:-0}" ;;
  "image inspect"*) exit "${NO_IMAGE:-0}" ;;
  *" build") exit "${NO_BUILD:-0}" ;;
  *" doctor "*) ${DOCTOR:-true} "$@" || exit 1 ;;
  *" up "*) exit "${NO_UP:-0}" ;;
esac
"""
# A command of the container, run outside of it.
INSIDE = """#!/bin/bash
while [ "$1" != simple_clip_lstm ]; do shift; done
shift
exec {python} -m simple_clip_lstm_ros.cli.main "${{@/#\\/checkpoints/$CHECKPOINTS}}"
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    folder = tmp_path / "stubs"
    folder.mkdir()
    program(folder / "docker", DOCKER)
    program(folder / "getent", '#!/bin/bash\n[ "$*" = "group render" ] && echo "render:x:995:robot"\n')
    for tool in ("bash", "basename", "dirname", "realpath", "df", "tail", "grep", "sed", "cat", "cut", "id"):
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


@pytest.fixture
def run(stubs: Path, tmp_path: Path) -> Run:
    def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": str(stubs), "CALLS": str(tmp_path / "calls"), "USER": "robot"} | environment
        return subprocess.run([SCRIPT, *map(str, words)], env=given, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return shutil.copytree(ROOT / "simple_clip_lstm_ros" / "models" / "tiny", tmp_path / "models" / "my model")


REFUSED = {
    "a domain that there is not": ({"ROS_DOMAIN_ID": "300"}, "ROS_DOMAIN_ID is '300': set a number from 0 to 101"),
    "a domain that is no number": ({"ROS_DOMAIN_ID": "1; rm"}, "ROS_DOMAIN_ID is '1; rm'"),
    "another middleware": ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, "the images have rmw_fastrtps_cpp"),
    "no camera": ({"CAMERA": "/dev/video77"}, "there is no camera /dev/video77"),
    "no parameters": ({"PARAMS_FILE": "/nowhere.yaml"}, "there is no PARAMS_FILE /nowhere.yaml"),
    "another machine": ({"MACHINE": "tpu"}, "MACHINE is jetson, cuda or cpu, not tpu"),
    "no daemon": ({"NO_DAEMON": "1"}, "docker does not answer: start it"),
    "no compose": ({"NO_COMPOSE": "1"}, "install docker-compose-plugin"),
    "no GPU runtime": ({"MACHINE": "jetson", "RUNTIMES": "{}"}, "install nvidia-container-toolkit"),
    "no disk": ({"LEAST_DISK_GB": "9000000"}, "are free on the disk of docker, 9000000 are needed"),
    "no image": ({"NO_IMAGE": "1", "NO_BUILD": "1"}, "the image could not be built"),
    "a fault that the doctor finds": ({"DOCTOR": "false"}, "this machine is not fit to drive by my model"),
    "a node that does not start": ({"NO_UP": "1"}, "the node did not start: docker compose --file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_says_in_one_line_what_is_wrong(run: Run, bundle: Path, tmp_path: Path, case: str) -> None:
    environment, words = REFUSED[case]
    ran = run(bundle, **environment)
    assert ran.returncode == 1 and words in ran.stderr and ran.stderr.count("\n") == 1
    calls = (tmp_path / "calls").read_text() if (tmp_path / "calls").exists() else ""
    assert " up " not in calls or case == "a node that does not start"


@pytest.mark.parametrize(
    "words, told", [([], "name one CHECKPOINT"), (["/nowhere"], "there is no checkpoint /nowhere")]
)
def test_it_wants_a_checkpoint_that_is_there(run: Run, words: list[str], told: str) -> None:
    ran = run(*words)
    assert ran.returncode == 1 and told in ran.stderr


def test_without_docker_it_says_so(run: Run, bundle: Path, stubs: Path) -> None:
    (stubs / "docker").unlink()
    assert "docker is not installed" in run(bundle).stderr


def test_it_starts_the_containers_of_this_machine_as_this_user(run: Run, bundle: Path, tmp_path: Path) -> None:
    parameters = tmp_path / "mine.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    memory_budget_gb: 6.5  # the rest is for the map\n")
    ran = run(bundle, ROS_DOMAIN_ID="7", PRECISION="bf16", NAMESPACE="r1", PARAMS_FILE=str(parameters))
    assert ran.returncode == 0, ran.stderr
    assert "/r1/velocity_guard/enable" in ran.stdout
    *_, doctor, up = (tmp_path / "calls").read_text().splitlines()
    user = f"{os.getuid()}:{os.getgid()}"
    compose = f"{bundle.parent} my model {user} 995 7: compose --file {ROOT / 'docker' / 'compose.yaml'} --profile cpu"
    assert up == f"{compose} up --detach --wait"
    words = "simple_clip_lstm doctor /checkpoints/my model --memory-budget-gb 6.5 --precision bf16"
    assert doctor == f"{compose} run --rm --no-deps inference-cpu {words}"


def test_a_machine_without_a_render_group_will_do(run: Run, bundle: Path, stubs: Path, tmp_path: Path) -> None:
    (stubs / "getent").unlink()
    (stubs / "getent").symlink_to(shutil.which("false"))
    assert run(bundle).returncode == 0
    assert f"{os.getgid()}  0: compose" in (tmp_path / "calls").read_text()


def test_a_base_that_is_named_is_built_on(run: Run, bundle: Path, tmp_path: Path) -> None:
    assert run(bundle, BASE_IMAGE="mobile_vla:pytorch-2.3.0-cuda").returncode == 0
    assert "--profile cpu build" in (tmp_path / "calls").read_text()


def test_a_gpu_is_taken_where_one_answers(run: Run, bundle: Path, stubs: Path, tmp_path: Path) -> None:
    (stubs / "nvidia-smi").symlink_to(shutil.which("true"))
    assert run(bundle).returncode == 0
    assert "--profile cuda up" in (tmp_path / "calls").read_text()


@pytest.mark.ros
@pytest.mark.full
def test_a_bundle_that_was_copied_in_part_never_starts(run: Run, bundle: Path, tmp_path: Path) -> None:
    """With the real doctor in the container's place."""
    (weights,) = bundle.glob("*.safetensors")
    os.truncate(weights, 1000)
    doctor = program(tmp_path / "doctor", INSIDE.format(python=sys.executable))
    inherited = {name: value for name, value in os.environ.items() if name not in ("PATH", "RMW_IMPLEMENTATION")}
    ran = run(bundle, **inherited | {"DOCTOR": str(doctor), "PYTHONPATH": str(ROOT), "MACHINE": "cpu"})
    assert ran.returncode == 1 and "model.safetensors (its checksum differs)" in ran.stdout
    assert ran.stderr.splitlines()[-1].endswith("what to do stands beside each ERROR above")
    assert " up " not in (tmp_path / "calls").read_text()
