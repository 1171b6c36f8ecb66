"""Without optional libraries, really hidden: one line names the extra, and what needs none of them works."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from simple_clip_lstm_ros.cli.main import SUBCOMMANDS
from simple_clip_lstm_ros.errors import EXTRAS, name_missing_extra

# As if they were not installed, in this process and those that it starts.
_HIDE = """
import os, sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in os.environ["HIDDEN"].split()
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if each is PathFinder else each for each in sys.meta_path]
"""
_CLI = (sys.executable, "-m", "simple_clip_lstm_ros.cli.main")
_DEMO = ("demo", "--seconds", "1")
_EVALUATE = ("evaluate", "builtin:tiny", "--layouts", "1")
_REPLAY = ("replay", "BAG", "--checkpoint", "builtin:tiny")
_TRAIN = ("train", "EPISODES", "--checkpoint", "builtin:tiny", "--out", "model.pth")
# Command, the library that it lacks, the extra to install.
MISSING = [
    (("session", "builtin:tiny"), "prompt_toolkit", "session"),
    (_DEMO, "shapely", "sim"),
    (_DEMO, "networkx", "sim"),
    (_DEMO, "matplotlib", "plots"),
    (_EVALUATE, "shapely", "sim"),
    (_EVALUATE, "networkx", "sim"),
    ((*_EVALUATE, "--plot", "drives.png"), "matplotlib", "plots"),
    (("evaluate", "builtin:tiny", "--episodes", "EPISODES"), "h5py", "data"),
    (("explain", "builtin:tiny", "photo.jpg", "go"), "matplotlib", "plots"),
    (("dashboard",), "aiohttp", "dashboard"),
    (("record", "."), "rosbags", "data"),
    (("record", ".", "--format", "hdf5"), "h5py", "data"),
    (_REPLAY, "matplotlib", "plots"),
    (_REPLAY, "rosbags", "data"),
    (_REPLAY, "h5py", "data"),
    (("episodes", "EPISODES"), "h5py", "data"),
    (("episodes", ".", "--from-bag", "BAG", "--image-topic", "a", "--command-topic", "b"), "rosbags", "data"),
    (_TRAIN, "h5py", "train"),
    (_TRAIN, "accelerate", "train"),
]
IDS = [f"{command[0]}-{module}" for command, module, _ in MISSING]
PROGRAMS = [
    ("bag_player", "rosbags", "data"),
    ("bag_player", "matplotlib", "plots"),
    ("bag_recorder", "rosbags", "data"),
    ("dashboard", "aiohttp", "dashboard"),
]
_NODE = """
import sys
from pathlib import Path
from simple_clip_lstm_ros.harness.node_harness import NodeHarness

with NodeHarness({"checkpoint": "builtin:tiny", "device": "cpu"}, threads=1, logs=Path(sys.argv[1])) as stage:
    stage.start()
    stage.set_instruction("go around the left side of the box and reach the cup")
    assert stage.spin_for(30.0, lambda: stage.command is not None and stage.reason.startswith("MOVING")), stage.reason
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs a command in a folder of its own, where these libraries are hidden; `options` are of subprocess."""
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    (hiding / "sitecustomize.py").write_text(_HIDE)

    def run(*words: object, hidden: str, **options: Any) -> subprocess.CompletedProcess[str]:
        own = {"PYTHONPATH": f"{hiding}{os.pathsep}{environment['PYTHONPATH']}", "HIDDEN": hidden}
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | options
        command = [*map(str, words)]
        return subprocess.run(
            command, env=environment | own, cwd=tmp_path, text=True, timeout=120, stderr=subprocess.PIPE, **given
        )

    return run


def test_each_library_is_in_the_extras_that_it_is_said_to_be_in(setup: dict[str, Any]) -> None:
    found: dict[str, list[str]] = {}
    for extra, asked in setup["extras_require"].items():
        for requirement in map(Requirement, asked):
            found.setdefault(requirement.name.replace("-", "_"), []).append(extra)
    for module, extras in EXTRAS.items():
        assert {*extras} == {*found[module]} - {"all"}, module
        assert ("all" in found[module]) == (extras != ("int8",)), "int8 does not fit every torch that is supported"
    named = {extra for extras in EXTRAS.values() for extra in extras}
    assert named == {*setup["extras_require"]} - {"all", "ros", "test"}


def test_the_node_and_its_subcommands_take_ten_requirements_at_most(setup: dict[str, Any]) -> None:
    assert len(setup["install_requires"]) <= 10


def test_other_import_errors_are_passed_on() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), name_missing_extra("this"):
        import no_such_module  # noqa: F401


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.parametrize(
    "command, module, extra", MISSING, ids=lambda value: value if isinstance(value, str) else value[0]
)
def test_one_line_names_the_extra_that_a_subcommand_misses(
    run: Run, command: tuple[str, ...], module: str, extra: str
) -> None:
    pytest.importorskip("rclpy")
    terminal, reader = pty.openpty() if command[0] == "session" else (None, None)
    options = {} if reader is None else {"stdin": reader, "stdout": reader}
    ran = run(*_CLI, *command, hidden=module, **options)
    for each in filter(None, (terminal, reader)):
        os.close(each)
    needs = f"simple_clip_lstm {command[0]} needs {module}"
    assert (ran.returncode, ran.stdout or "") == (1, "")
    assert ran.stderr == f"error: {needs}: pip install 'simple_clip_lstm_ros[{extra}]'\n"


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.parametrize("program, module, extra", PROGRAMS)
def test_one_line_names_the_extra_that_a_node_misses(run: Run, program: str, module: str, extra: str) -> None:
    pytest.importorskip("rclpy")
    code = f"from simple_clip_lstm_ros.cli.ros import {program}; {program}()"
    ran = run(sys.executable, "-c", code, hidden=module)
    assert ran.returncode == 1
    assert ran.stderr == f"error: {program} needs {module}: pip install 'simple_clip_lstm_ros[{extra}]'\n"


def test_a_library_that_does_not_load_says_why(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hiding" / "h5py.py").write_text("raise ImportError('undefined symbol', name='h5py._errors')\n")
    ran = run(*_CLI, "episodes", "EPISODES", hidden="")
    told = "error: simple_clip_lstm episodes needs h5py (undefined symbol): pip install 'simple_clip_lstm_ros[data]'\n"
    assert (ran.returncode, ran.stderr) == (1, told)


def test_help_of_each_subcommand_needs_no_extra(run: Run) -> None:
    code = """
import contextlib, io
from simple_clip_lstm_ros.cli.main import SUBCOMMANDS, main
for verb in (None, *SUBCOMMANDS):
    try:
        with contextlib.redirect_stdout(io.StringIO()) as told:
            main([verb, "--help"] if verb else ["--help"])
    except SystemExit as ended:
        print(verb, ended.code, told.getvalue().startswith("usage: simple_clip_lstm"))
"""
    ran = run(sys.executable, "-c", code, hidden=" ".join(EXTRAS))
    assert ran.stdout.splitlines() == [f"{verb} 0 True" for verb in (None, *SUBCOMMANDS)], ran.stderr


@pytest.mark.slow
def test_without_any_extra_these_subcommands_work(run: Run, photograph: Path) -> None:
    def works(*words: object) -> str:
        ran = run(*_CLI, *words, hidden=" ".join(EXTRAS))
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert "kosmos" in works("inspect", "builtin:tiny")
    works("memory", "builtin:tiny")
    assert "largest difference of an action" in works("convert", "builtin:tiny", "bundle", "--verify", "2")
    assert "are as they were written" in works("verify", "bundle")
    assert re.search(r"linear\.x [+-]\d", works("infer", "bundle", "--image", photograph))
    refused = run(*_CLI, "infer", "bundle", "--image", photograph, "--precision", "int8", hidden=" ".join(EXTRAS))
    assert refused.returncode == 1
    assert "precision int8 needs torchao: pip install 'simple_clip_lstm_ros[int8]'" in refused.stderr


@pytest.mark.slow
@pytest.mark.ros
def test_without_any_extra_the_doctor_finds_all_that_it_looks_for(run: Run) -> None:
    ran = run(*_CLI, "doctor", "builtin:tiny", "--json", hidden=" ".join(EXTRAS))
    found = {each["check"]: each["verdict"] for each in json.loads(ran.stdout)["findings"]}
    assert found["versions"] == found["torch works"] == found["model's code"] == "OK", ran.stdout


@pytest.mark.slow
@pytest.mark.ros
def test_without_any_extra_the_node_drives(run: Run, tmp_path: Path) -> None:
    """The real node, with the guard: the check of its senses at configure included."""
    pytest.importorskip("rclpy")
    ran = run(sys.executable, "-c", _NODE, tmp_path, hidden=" ".join(EXTRAS))
    log = (tmp_path / "inference_node.log").read_text()
    assert ran.returncode == 0, ran.stderr + log
    assert "this model ignores" not in log
