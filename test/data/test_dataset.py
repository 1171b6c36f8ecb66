"""Which episodes of a folder are of use, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simple_clip_lstm_ros.errors import EpisodeError

pytest.importorskip("h5py")

from simple_clip_lstm_ros.data.dataset import format_skipped, read_dataset
from simple_clip_lstm_ros.data.dataset_stats import find_episodes
from simple_clip_lstm_ros.data.hdf5 import EpisodeWriter

SCALE = (0.4, 0.4, 2.0)


@pytest.fixture
def folder(tmp_path: Path, originals: list[dict], write_original: Callable) -> Path:
    """Two drives of known tasks in keys, one without motion, one that states all, and a file that is none."""
    for original in originals:
        write_original(tmp_path / f"{original['attrs']['episode_name']}.h5", original)
    (tmp_path / "broken.h5").write_bytes(b"no episode")
    with EpisodeWriter(tmp_path / "ours.h5", language_instruction="go to the cup") as writer:
        for index in range(3):
            writer.add(
                np.full((4, 6, 3), 40 * index + np.arange(3), np.uint8) + _noise(index), (0.1 * index, 0, 0), index
            )
    return tmp_path


def _noise(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 9, (4, 6, 3), np.uint8)


def test_each_comes_with_its_instruction_and_velocities(folder: Path) -> None:
    recordings, _ = read_dataset(find_episodes(folder), None, SCALE)
    texts = {each.file.name: each.instruction for each in recordings}
    sides = {name: text.split("side")[0].split()[-1] for name, text in texts.items() if "box" in name}
    assert len(texts) == 3 and texts["ours.h5"] == "go to the cup"
    assert len(sides) == 2 and all(side in name for name, side in sides.items())
    for each in recordings:
        factors = 1.0 if each.file.name == "ours.h5" else np.array(SCALE, np.float32)
        assert each.velocities == pytest.approx(each.episode.actions * factors)


def test_what_is_of_no_use_is_left_out_with_the_reason(folder: Path) -> None:
    _, left_out = read_dataset(find_episodes(folder), None, SCALE)
    still, broken = str(folder / "episode_20250808_040913.h5"), str(folder / "broken.h5")
    assert left_out == {still: "all actions are zero", broken: f"{broken} is not an HDF5 file: " + _REMEDY}
    assert format_skipped(left_out) == [f"{broken} is not an HDF5 file: {_REMEDY}", f"{still}: all actions are zero"]


_REMEDY = "name files of episodes, or a folder of them"


def test_what_an_episode_lacks_is_refused_with_the_file_and_the_option(folder: Path) -> None:
    with pytest.raises(EpisodeError, match=rf"{folder}/.*1box_hori.*\.h5: .*--action-scale X Y ANGULAR"):
        read_dataset(find_episodes(folder), None, None)
    for file in folder.glob("*box*"):
        file.unlink()
    assert [each.file.name for each in read_dataset(find_episodes(folder), None, None)[0]] == ["ours.h5"]
    with EpisodeWriter(folder / "mute.h5") as writer:
        for index in range(3):
            writer.add(_noise(index), (0.1 * index, 0, 0), index)
    with pytest.raises(EpisodeError, match=rf"{folder}/mute\.h5: .*--instruction TEXT"):
        read_dataset(find_episodes(folder), None, None)
    assert len(read_dataset(find_episodes(folder), "turn", None)[0]) == 2


def test_nothing_of_use_is_refused_with_a_reason(folder: Path) -> None:
    with pytest.raises(EpisodeError, match=r"2 episodes .*broken\.h5 .*HDF5"):
        read_dataset([folder / "broken.h5", folder / "episode_20250808_040913.h5"], None, None)
