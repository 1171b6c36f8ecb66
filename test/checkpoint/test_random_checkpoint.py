"""synth: a file like a training's, the same for the same seed, refused before anything is half-done."""

from __future__ import annotations

import argparse
import shutil
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.checkpoint.random_checkpoint import write_random_checkpoint
from simple_clip_lstm_ros.checkpoint.reader import open_checkpoint
from simple_clip_lstm_ros.errors import Cancelled, CheckpointError, ConfigError
from simple_clip_lstm_ros.policy.sample_images import sample_crops

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another seed than the fixture `tiny` has."""
    path = tmp_path_factory.mktemp("another") / "another.pth"
    write_random_checkpoint("tiny", path, seed=1)
    return path


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=False)["model_state_dict"]


def test_the_file_has_the_form_of_a_training_run(content: dict[str, Any]) -> None:
    assert list(content)[:5] == ["epoch", "model_state_dict", "optimizer_state_dict", "val_mae", "args"]
    assert isinstance(content["args"], argparse.Namespace)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))]).state_dict()
    assert set(content["optimizer_state_dict"]) == set(optimizer)
    for state in content["optimizer_state_dict"]["state"].values():
        assert set(state) == {"step", "exp_avg", "exp_avg_sq"}


def test_the_optimizer_knows_the_head_in_its_order(content: dict[str, Any]) -> None:
    """As a trainer with frozen encoders leaves it: a resumed training would assign by position."""
    trained = ("feature_fusion.", "rnn.", "actions.")
    shapes = [tensor.shape for name, tensor in content["model_state_dict"].items() if name.startswith(trained)]
    states = content["optimizer_state_dict"]["state"]
    assert [states[index]["exp_avg"].shape for index in range(len(states))] == shapes
    assert content["optimizer_state_dict"]["param_groups"][0]["params"] == list(range(len(shapes)))


def test_the_file_says_that_it_is_untrained(content: dict[str, Any], tiny: Path) -> None:
    assert content["policy_config"]["untrained"] is True
    assert load_policy(tiny).config.untrained is True


def test_the_config_in_the_file_is_plain_data(content: dict[str, Any]) -> None:
    def kinds(value: Any) -> set[type]:
        children = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        return {type(value)} | (
            set().union(*map(kinds, children)) if children and isinstance(value, (dict, list)) else set()
        )

    assert kinds(content["policy_config"]) <= {dict, list, str, int, float, bool, type(None)}


def test_the_zip_is_whole_small_and_begins_with_the_pickle(tiny: Path) -> None:
    with zipfile.ZipFile(tiny) as archive:
        assert archive.testzip() is None
        assert archive.infolist()[0].filename.endswith("/data.pkl")
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        names = {info.filename.partition("/")[2] for info in archive.infolist()}
    assert {"data.pkl", "byteorder", "version"} <= names
    assert tiny.stat().st_size < 5_000_000


def test_every_tensor_lies_where_it_can_be_mapped(tiny: Path) -> None:
    """torch.load(mmap=True) and vector instructions want aligned data; torch.save aligns to 64."""
    loaded = torch.load(tiny, weights_only=False, mmap=True)
    assert {tensor.data_ptr() % 64 for tensor in loaded["model_state_dict"].values()} == {0}


def test_the_same_seed_gives_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    # The name of the file stands in the zip.
    again = tmp_path / tiny.name
    write_random_checkpoint("tiny", again, seed=0)
    assert again.read_bytes() == tiny.read_bytes()


def test_another_seed_gives_other_weights_everywhere(tiny: Path, another: Path) -> None:
    first, second = _weights(tiny), _weights(another)
    same = [name for name in first if first[name].dim() > 1 and torch.equal(first[name], second[name])]
    assert first.keys() == second.keys()
    assert not same


def test_no_two_matrices_are_alike(tiny: Path) -> None:
    sums = [float(tensor.double().sum()) for tensor in _weights(tiny).values() if tensor.dim() > 1]
    assert len(set(sums)) == len(sums)


@pytest.mark.parametrize("carried", [False, True], ids=["fresh state", "carried state"])
@pytest.mark.parametrize("which", ["tiny", "another"])
def test_actions_differ_enough_from_frame_to_frame(request: pytest.FixtureRequest, which: str, carried: bool) -> None:
    policy = load_policy(request.getfixturevalue(which), precision="fp32")
    values = []
    for frame in sample_crops(32):
        if not carried:
            policy.reset()
        values.append(policy.step(frame, "go to the red box").values)
    assert (np.std(values, axis=0) >= 0.1).all()
    assert (np.abs(values) < 10).all(), "of the size of a velocity"


def test_only_the_end_of_the_head_is_scaled(tiny: Path) -> None:
    """Every other matrix keeps the gain it was drawn with."""
    gains = {
        name: float(tensor.std() * tensor[0].numel() ** 0.5)
        for name, tensor in _weights(tiny).items()
        if tensor.dim() == 2 and tensor.numel() > 500 and "embed" not in name and "latent_query" not in name
    }
    assert len(gains) > 30
    assert {name for name, gain in gains.items() if not 0.7 < gain < 2.5} <= {"actions.mlp.8.weight"}


@pytest.mark.parametrize("name", ["v1.2.pth", "ünï cöde.pth", ".hidden.pth"])
def test_any_file_name_will_do(tiny: Path, tmp_path: Path, name: str) -> None:
    write_random_checkpoint("tiny", tmp_path / name)
    assert torch.load(tmp_path / name, weights_only=False).keys() == torch.load(tiny, weights_only=False).keys()
    assert open_checkpoint(tmp_path / name).shapes == open_checkpoint(tiny).shapes
    load_policy(tmp_path / name)


def test_progress_is_told_step_by_step(tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    write_random_checkpoint(
        "tiny", tmp_path / "x.pth", report=lambda what, done, of: told.setdefault(what, []).append((done, of))
    )
    assert len(told) >= 2
    for steps in told.values():
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        assert len({total for _, total in steps}) == 1
        assert steps[-1][0] == steps[-1][1]


# --- refusals -------------------------------------------------------------------------------------------------


def test_an_unknown_profile_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'huge'.*seed, published, tiny"):
        write_random_checkpoint("huge", tmp_path / "x.pth")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("existing", ["x.pth", "x.pth.processors"])
def test_what_exists_is_never_overwritten(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    with pytest.raises(CheckpointError, match=rf"{existing} exists"):
        write_random_checkpoint("tiny", tmp_path / "x.pth")
    assert (tmp_path / existing).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [existing]


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere .*folder"):
        write_random_checkpoint("tiny", tmp_path / "nowhere" / "x.pth")


@pytest.mark.parametrize("profile", ["seed", "published"])
def test_a_full_size_file_is_refused_at_once_where_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(20e9, 13e9, 7e9))

    def progress(*_: object) -> None:
        raise AssertionError("work was begun")

    with pytest.raises(CheckpointError, match=r"7\.00 GB free.* 7\.\d+ GB"):
        write_random_checkpoint(profile, tmp_path / "x.pth", report=progress)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the minutes that a full-size profile takes. Permissions do not stop root, but /proc does."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100e9, 0, 100e9))
    begun = []
    with pytest.raises(CheckpointError, match="/proc"):
        write_random_checkpoint("tiny", "/proc/x.pth", report=lambda *step: begun.append(step))
    assert not begun


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), Cancelled("stopped"), KeyboardInterrupt()])
@pytest.mark.parametrize("stage", ["drawing weights", "writing"])
def test_nothing_is_left_after_a_failure(tmp_path: Path, stage: str, failure: BaseException) -> None:
    def fail(what: str, done: int, total: int) -> None:
        if what == stage and done > total / 2:
            raise failure

    with pytest.raises((CheckpointError, Cancelled, KeyboardInterrupt, OSError)):
        write_random_checkpoint("tiny", tmp_path / "x.pth", report=fail)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_whose_processors_cannot_be_written_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would exist and yet not load."""

    def fail(folder: Path) -> None:
        folder.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simple_clip_lstm_ros.checkpoint.random_checkpoint.write_tiny_processors", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        write_random_checkpoint("tiny", tmp_path / "x.pth")
    assert not list(tmp_path.iterdir())
