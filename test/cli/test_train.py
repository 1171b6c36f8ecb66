"""`simple_clip_lstm train`, as a user runs it on a folder of episodes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from simple_clip_lstm_ros.checkpoint import load_policy
from simple_clip_lstm_ros.cli.main import main
from simple_clip_lstm_ros.data.episode import KEY_LEVELS, METRES_AND_RADIANS
from simple_clip_lstm_ros.data.hdf5 import EpisodeWriter
from simple_clip_lstm_ros.sim.layout import sample_layout
from simple_clip_lstm_ros.sim.perturbations import FIRST_SEED
from simple_clip_lstm_ros.sim.rollouts import PERIOD, noisy_expert, rollout
from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario
from simple_clip_lstm_ros.sim.world import World
from simple_clip_lstm_ros.training.trainer import Trainer

TEXT = "go around the left side of the box and reach the cup"
FEW = ("--epochs", "3", "--device", "cpu")


def write(folder: Path, count: int, *, told: bool, units: str = METRES_AND_RADIANS, scale: float = 1.0) -> Path:
    """Episodes of 8 frames; where `told`, the bright half of an image is the side to which the robot turned."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index}_1box_hori_left.h5"
        with EpisodeWriter(path, language_instruction=TEXT, action_units=units) as writer:
            for step in range(8):
                turn = float(rng.choice((-0.5, 0.5)))
                left_is_bright = turn > 0.0 if told else bool(rng.integers(2))
                frame = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
                frame[:, :32] += np.uint8(180 * left_is_bright)
                frame[:, 32:] += np.uint8(180 * (not left_is_bright))
                writer.add(frame, (0.3 * scale, 0.0, turn * scale), 0.2 * step)
    return folder


def run(data: Path, base: Path, out: Path, *options: str) -> int:
    return main(["train", str(data), "--checkpoint", str(base), "--out", str(out), *options])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "episodes", 20, told=True)


def test_both_forms_are_written_and_served(data, tiny, tmp_path, capsys) -> None:
    out = tmp_path / "mine.pth"
    assert run(data, tiny, out, *FEW) == 0
    told = capsys.readouterr().out
    assert "epoch   1  loss" in told and "the median" in told and "its error is" in told
    frame = np.zeros((48, 64, 3), np.uint8)
    served = []
    for path in (out, tmp_path / "mine"):  # each complete in itself
        policy = load_policy(path, precision="fp32")
        assert not policy.config.untrained and not policy.config.assumed
        served.append(policy.step(frame, TEXT).values)
    assert served[0] == served[1]
    file = torch.load(out, weights_only=False)
    assert {"epoch", "model_state_dict", "optimizer_state_dict", "val_mae", "args", "policy_config"} == set(file)
    assert not list(tmp_path.glob("*.state"))


def test_it_begins_with_a_model_of_the_package_too(data, models, tmp_path) -> None:
    out = tmp_path / "mine.pth"
    assert main(["train", str(data), "--checkpoint", "builtin:small", "--out", str(out), *FEW]) == 0
    assert not load_policy(out).config.untrained


def test_frozen_encoders_stay_and_trained_ones_do_not(data, tiny, tmp_path) -> None:
    before = torch.load(tiny, weights_only=False)["model_state_dict"]
    moved = {}
    for kind in ("frozen", "trained"):
        out = tmp_path / f"{kind}.pth"
        assert run(data, tiny, out, *FEW, "--encoders", kind, "--mirror") == 0
        after = torch.load(out, weights_only=False)["model_state_dict"]
        moved[kind] = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved["frozen"] == {"feature_fusion", "rnn", "actions"}
    assert moved["trained"] == {"feature_fusion", "rnn", "actions", "kosmos_model", "clip_model"}


def test_what_cannot_be_learnt_is_said(tmp_path, tiny, capsys) -> None:
    data = write(tmp_path / "episodes", 10, told=False)
    assert run(data, tiny, tmp_path / "out.pth", *FEW, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["mae"] >= document["constant"] * 0.95
    assert document["axes"].keys() == {"linear.x", "angular.z"}
    assert ("WARNING" in document["verdict"]) == (document["mae"] >= document["constant"])


@pytest.fixture
def turning_the_other_way(tmp_path: Path) -> dict[Path, np.ndarray]:
    """Drives of the expert with a robot that turns the other way: for it, what the shipped model knows is wrong."""
    (tmp_path / "episodes").mkdir()
    written = {}
    for seed in range(FIRST_SEED, FIRST_SEED + 24):
        layout = sample_layout(SCENARIOS[seed % len(SCENARIOS)], seed)
        text = layout.scenario.instruction
        drive = rollout(World(layout), text, noisy_expert(np.random.default_rng(seed), 0.3))
        path = tmp_path / "episodes" / f"{seed}_{layout.scenario}.h5"
        written[path] = drive.actions * np.float32([1.0, 1.0, -1.0])
        with EpisodeWriter(path, language_instruction=text, action_units=METRES_AND_RADIANS) as writer:
            for step, (frame, action) in enumerate(zip(drive.frames, written[path], strict=True)):
                writer.add(frame, action, PERIOD * step)
    return written


def by_text_and_clock(actions: dict[Path, np.ndarray]) -> np.ndarray:
    """The error [axes] of who is blind, but knows what others did at the same task and moment."""
    errors = []
    for path, own in actions.items():
        task = Scenario.parse(path.stem)
        others = [other for each, other in actions.items() if each != path and Scenario.parse(each.stem) == task]
        for step, action in enumerate(own):
            known = [other[min(step, len(other) - 1)] for other in others]
            errors.append(np.abs(action - np.mean(known, axis=0)))
    return np.mean(errors, axis=0)


@pytest.mark.slow
def test_what_images_tell_is_learnt(turning_the_other_way, tmp_path, capsys) -> None:
    data = tmp_path / "episodes"
    assert main(["evaluate", "builtin:tiny", "--episodes", str(data), "--json"]) == 0
    assert "WARNING" in json.loads(capsys.readouterr().out)["verdict"]
    schedule = ("--epochs", "40", "--patience", "40", "--learning-rate", "3e-3", "--mirror", "--device", "cpu")
    assert run(data, Path("builtin:tiny"), tmp_path / "mine.pth", *schedule, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["mae"] < 0.5 * document["constant"]
    assert document["axes"]["angular.z"]["mae"] < 0.7 * by_text_and_clock(turning_the_other_way)[2]


def test_key_levels_become_velocities_by_the_user_s_factors(tmp_path, tiny, capsys) -> None:
    keys = write(tmp_path / "keys", 6, told=True, units=KEY_LEVELS, scale=2.0)
    out = tmp_path / "out.pth"
    assert run(keys, tiny, out, *FEW) == 1
    assert "--action-scale" in capsys.readouterr().err
    assert run(keys, tiny, out, *FEW, "--action-scale", "0.5", "0.5", "0.5") == 0
    assert load_policy(out).config.action_offset[0] == pytest.approx(0.3)


def test_it_goes_on_where_it_was_interrupted(data, tiny, tmp_path, monkeypatch, capsys) -> None:
    whole, broken = tmp_path / "whole.pth", tmp_path / "broken.pth"
    assert run(data, tiny, whole, *FEW) == 0
    run_epoch = Trainer.run_epoch

    def interrupted(course: Trainer):
        if course.epoch == 2:
            raise KeyboardInterrupt
        return run_epoch(course)

    monkeypatch.setattr(Trainer, "run_epoch", interrupted)
    assert run(data, tiny, broken, *FEW) == 130
    assert not broken.exists()
    monkeypatch.undo()
    capsys.readouterr()
    assert run(data, tiny, broken, *FEW, "--seed", "1", "--resume") == 1
    assert "another --seed" in capsys.readouterr().err
    assert run(data, tiny, broken, *FEW, "--resume") == 0
    assert "epoch   3" in (told := capsys.readouterr().out) and "epoch   2" not in told
    one, other = (torch.load(path, weights_only=False)["model_state_dict"] for path in (whole, broken))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--out", "out.bin"), "name a .pth file"),
        (("--learning-rate", "0"), "--learning-rate must be above 0"),
        (("--resume",), "nothing to resume"),
        (("--layers", "rnn=1"), "a pruned model cannot be trained"),
        (("--config", "window.yaml"), "set carry"),
        (("--checkpoint", "none.pth"), "none.pth"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, why, data, tiny, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("window.yaml").write_text("history: window\n")
    assert run(data, tiny, tmp_path / "out.pth", *FEW, *options) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and why in error
    assert not list(tmp_path.glob("out*"))


def test_what_is_there_is_not_overwritten(data, tiny, tmp_path, capsys) -> None:
    (tmp_path / "out").mkdir()
    assert run(data, tiny, tmp_path / "out.pth", *FEW) == 1
    assert "out exists" in capsys.readouterr().err


def test_episodes_that_teach_nothing_are_left_out_and_named(tiny, tmp_path, capsys) -> None:
    data = write(tmp_path / "episodes", 6, told=True)
    (data / "broken.h5").write_bytes(b"nothing")
    assert run(data, tiny, tmp_path / "out.pth", *FEW) == 0
    assert "left out: " in (told := capsys.readouterr().out) and "broken.h5" in told
    for file in sorted(data.glob("*_left.h5"))[1:]:
        file.unlink()
    assert run(data, tiny, tmp_path / "other.pth", *FEW) == 1
    assert "at least two episodes" in capsys.readouterr().err


def test_only_one_of_several_processes_writes(data, tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Trainer, "is_main_process", property(lambda self: False))
    assert run(data, tiny, tmp_path / "out.pth", *FEW) == 0
    assert not list(tmp_path.glob("out*"))


def test_help_tells_of_several_gpus(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "accelerate launch" in capsys.readouterr().out
