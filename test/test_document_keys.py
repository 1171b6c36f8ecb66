"""Pin the keys of documents and files: they are an interface, and stay when names in the code change."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parent / "launch"))  # where the tests' own modules are
sys.path.insert(0, str(Path(__file__).parent / "data"))
sys.path.insert(0, str(Path(__file__).parent))
from document_keys import check, names
from stand_ins import load

from simple_clip_lstm_ros.benchmark import environment as machines
from simple_clip_lstm_ros.benchmark.environment import DevicePeak, measure_peak
from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.cli import doctor, train
from simple_clip_lstm_ros.cli.main import SUBCOMMANDS, main
from simple_clip_lstm_ros.cli.session_commands import COMMANDS
from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.guard import GuardReason
from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.doctor.finding import Finding, Verdict
from simple_clip_lstm_ros.doctor.libraries import check_libraries
from simple_clip_lstm_ros.doctor.resources import check_cameras, check_machine
from simple_clip_lstm_ros.doctor.transport import check_transport
from simple_clip_lstm_ros.engine import memory as memories
from simple_clip_lstm_ros.engine.cgroup import CgroupMemory
from simple_clip_lstm_ros.engine.memory import CudaMemory, Memory, ProcessMemory, read_memory
from simple_clip_lstm_ros.policy.sample_images import sample_crops
from simple_clip_lstm_ros.sim.layout import Layout
from simple_clip_lstm_ros.sim.mobile_base import DIFFERENTIAL
from simple_clip_lstm_ros.sim.world import STEP, World

ROOT = Path(__file__).parents[1]
MODEL = ("builtin:tiny", "--device", "cpu")
TEXT = "go around the left side of the box and reach the cup"
MEMORY = Memory(ProcessMemory(1, 1, 1), 10**11, 10**11, CgroupMemory(10**11, 1), CudaMemory("GPU", 2, 1, 1, 1, False))

Run = Callable[..., Any]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command with --json and return its document; the machine is not measured."""
    monkeypatch.setattr(machines, measure_peak.__name__, lambda device: DevicePeak({"fp32": 1e12, "bf16": 1e12}, 1e10))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*words: object) -> Any:
        capsys.readouterr()
        assert main([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """Write a photograph."""
    cv2.imwrite(str(tmp_path / "photograph.png"), next(sample_crops(1))[:, :, ::-1])
    return tmp_path / "photograph.png"


@pytest.fixture
def episodes(tmp_path: Path) -> Path:
    """Write two drives that teach, one without motion, and a file that is no episode."""
    pytest.importorskip("h5py")
    from simple_clip_lstm_ros.data.hdf5 import EpisodeWriter

    folder = tmp_path / "episodes"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, moves in (("1_1box_hori_left", 1.0), ("2_1box_hori_left", 1.0), ("still", 0.0)):
        with EpisodeWriter(folder / f"{name}.h5", language_instruction=TEXT) as writer:
            for step in range(4):
                frame = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
                writer.add(frame, moves * rng.normal(size=3), 0.2 * step)
    (folder / "broken.h5").write_bytes(b"no episode")
    return folder


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Write a bag of half a second: images, an instruction, commands and the reason for them."""
    pytest.importorskip("rosbags")
    from bag import EPOCH, compressed, text, twist, write_bag

    happened = [(0.0, "/instruction", text("go left")), (0.0, "/inference/reason", text(f"{Reason.MOVING.name}: so"))]
    for number, image in enumerate(sample_crops(5)):
        at = number / 10
        happened += [(at, "/image_raw/compressed", compressed(image, EPOCH + at)), (at, "/cmd_vel", twist(0.1))]
    return write_bag(tmp_path / "bag", happened)


def test_inspect(run: Run, tiny: Path, tmp_path: Path) -> None:
    """Include a cut model, and weights without a config, of which much is assumed."""
    content = torch.load(tiny, weights_only=False)
    parts = (part for part in content.values() if isinstance(part, dict))
    (weights,) = (part for part in parts if all(map(torch.is_tensor, part.values())))
    torch.save(weights, tmp_path / "weights.pth")
    cut = run("inspect", "builtin:tiny", "--layers", "kosmos_text=1")
    check("inspect", cut, run("inspect", tiny), run("inspect", tmp_path / "weights.pth"))


def test_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, read_memory.__name__, lambda *_: MEMORY)
    check("memory", run("memory", *MODEL))
    check("memory figures", *({owner: names([kind])} for owner, kind, _ in MEMORY.figures()))


def test_infer(run: Run, photograph: Path) -> None:
    check("infer", run("infer", *MODEL, "--image", photograph))


def test_benchmark(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes that step, which saves the time of their imports."""
    forks = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: forks)
    saved = tmp_path / "saved.json"
    check("benchmark", run("benchmark", *MODEL, "--rounds", 8, "--no-node", "--save", saved))
    check("benchmark", json.loads(saved.read_text()))
    check("benchmark of two", run("benchmark", "--compare", saved, saved))
    check("benchmark without a checkpoint", run("benchmark", "--device", "cpu"))


def test_a_bundle(run: Run, tiny: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    check("convert", run("convert", tiny, bundle, "--shard-size", "1MB", "--verify", 2))
    check("verify", run("verify", bundle))
    for name in ("config.json", "model.safetensors.index.json"):
        check(f"{name} of a bundle", json.loads((bundle / name).read_text()))
    files = (file.relative_to(bundle) for file in bundle.rglob("*") if file.is_file())
    check("files of a bundle", names(map(str, files)))
    with safe_open(next(bundle.glob("*.safetensors")), "pt") as shard:
        check("metadata of safetensors", shard.metadata())


def test_a_checkpoint(tiny: Path) -> None:
    content = torch.load(tiny, weights_only=False)
    check("a synthesised checkpoint", content | {"args": vars(content["args"])})


def test_train(run: Run, episodes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states, save = [], torch.save

    def kept(content: Any, path: Path) -> None:
        states.extend([content] if Path(path).suffix == ".state" else [])
        save(content, path)

    monkeypatch.setattr(torch, "save", kept)
    out = tmp_path / "out.pth"
    told = run("train", episodes, "--checkpoint", "builtin:tiny", "--out", out, "--epochs", 1, "--device", "cpu")
    check("train", told)
    check("state of a training", *states)
    content = torch.load(out, weights_only=False)
    check("a trained checkpoint", content | {"args": vars(content["args"])})


def test_episodes(run: Run, episodes: Path, bag: Path, tmp_path: Path) -> None:
    import h5py

    check("episodes", run("episodes", episodes))
    (tmp_path / "made").mkdir()
    topics = ("--image-topic", "/image_raw/compressed", "--command-topic", "/cmd_vel")
    check("episodes of a bag", run("episodes", tmp_path / "made", "--from-bag", bag, *topics))
    with h5py.File(episodes / "1_1box_hori_left.h5") as file:
        check("an episode", {"attributes": names(file.attrs), "datasets": names(file)})


def test_evaluate_of_episodes(run: Run, episodes: Path) -> None:
    check("evaluate of episodes", run("evaluate", *MODEL, "--episodes", episodes))


def test_evaluate(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a robot that drives straight on in place of the nodes."""
    pytest.importorskip("rclpy")
    from simple_clip_lstm_ros.harness import lockstep, node_harness

    class Standing:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __enter__(self) -> Standing:
            return self

        def __exit__(self, *_: object) -> None: ...

        def start(self) -> None: ...

        def drive(self, layout: Layout, condition: object) -> World:
            world = World(layout)
            while not world.outcome.ended:
                world.command(Velocity(1.0))
                world.advance(10 * STEP)
            return world

    monkeypatch.setattr(node_harness, node_harness.NodeHarness.__name__, Standing)
    monkeypatch.setattr(lockstep, lockstep.Lockstep.__name__, Standing)
    check("evaluate", run("evaluate", *MODEL, "--layouts", 1))


def test_replay(run: Run, bag: Path, episodes: Path, tmp_path: Path) -> None:
    words = ("--checkpoint", *MODEL, "--out", tmp_path / "out")
    check("replay", run("replay", bag, *words))
    check("replay", json.loads((tmp_path / "out" / "replay.json").read_text()))


def test_sensitivity_and_explain(run: Run, photograph: Path, tmp_path: Path) -> None:
    check("sensitivity", run("sensitivity", *MODEL, "--frames", 2))
    words = ("--grid", 4, "--out", tmp_path / "explanation.png")
    check("explain", run("explain", "builtin:tiny", photograph, TEXT, *words, "--device", "cpu"))


def test_doctor(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the checkpoint only: other findings have the same keys, and take long."""
    for checks in (check_libraries, check_machine, check_transport, check_cameras):
        monkeypatch.setattr(doctor, checks.__name__, lambda *_: iter([Finding("it", Verdict.OK, "well", "nothing")]))
    check("doctor", run("doctor", *MODEL))


def test_names_on_topics() -> None:
    check("reasons", {"inference": names(Reason.__members__), "guard": names(GuardReason.__members__)})
    check("limits as parameters", asdict(DIFFERENTIAL))


def test_the_command_line(setup: dict[str, Any]) -> None:
    """Pin executables, verbs with their options, and the commands of a session."""
    check("executables", names(line.partition(" ")[0] for line in setup["entry_points"]["console_scripts"]))
    verbs = {}
    for verb in SUBCOMMANDS:
        parser = argparse.ArgumentParser(add_help=False)
        importlib.import_module(f"{train.__package__}.{verb}").add_arguments(parser)
        verbs[verb] = names(name for each in parser._actions for name in (*each.option_strings, each.dest))
    check("command line", verbs)
    check("commands of a session", names(COMMANDS))


def test_launch_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for file in sorted((ROOT / "launch").glob("*.launch.py")):
        launch_file = load(file, monkeypatch)
        found[file.name] = names([*launch_file.PARAMETERS, *launch_file.OPTIONS])
    check("launch arguments", found)


def test_the_scripts_of_benchmarks() -> None:
    """Read the fields of the dataclasses that they print from the source, since running them takes long."""
    found: dict[str, dict[str, None]] = {}
    for file in sorted((ROOT / "benchmarks").glob("*.py")):
        source = file.read_text()
        for each in ast.walk(ast.parse(source)):
            if isinstance(each, ast.ClassDef) and each.decorator_list and asdict.__name__ in source:
                lines = (line.target for line in each.body if isinstance(line, ast.AnnAssign))
                found.setdefault(file.name, {}).update(names(line.id for line in lines if isinstance(line, ast.Name)))
    check("benchmarks' rows", found)


def test_the_model_that_ships() -> None:
    config = resolve_path("builtin:tiny") / "config.json"
    check("config.json of the model that ships", json.loads(config.read_text()))
