"""What is told of a folder of episodes: figures computed here by hand, and each flaw by its name."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from simple_clip_lstm_ros.data.episode import ACTION_COLUMNS, Episode
from simple_clip_lstm_ros.errors import EpisodeError

pytest.importorskip("h5py")

from simple_clip_lstm_ros.data.dataset_stats import AxisStats, find_episodes, quality_issues, summarize_dataset


def episode(count=6, frames=None, **changes):
    """A drive without a flaw."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (count, 4, 6, 3), np.uint8) if frames is None else frames
    made = Episode(
        name="drive",
        actions=rng.normal(size=(count, 3)).astype(np.float32),
        event_types=("episode_start",) * count,
        timestamps=np.arange(float(count)),
        language_instruction="go",
        total_duration=count - 1.0,
        channel_order="rgb",
        action_units="m/s, m/s, rad/s",
        frames=lambda indices=None: frames if indices is None else frames[list(indices)],
    )
    return replace(made, **changes)


@pytest.fixture
def folder(tmp_path, originals, write_original):
    for original in originals:
        write_original(tmp_path / f"{original['attrs']['episode_name']}.h5", original)
    return tmp_path


def test_the_original_s_episodes_are_counted(folder, originals):
    found = summarize_dataset(find_episodes(folder))
    assert (found.episodes, found.frames) == (3, 18 + 18 + 19)
    assert found.duration == pytest.approx(36.4025514125824 + 15.740460872650146 + 27.52627921104431)
    assert found.scenarios == {"1box_hori_left": 1, "1box_hori_right": 1, "other": 1}
    assert found.units == {"not stated": 3}
    assert found.degenerate == {str(folder / "episode_20250808_040913.h5"): ["all actions are zero"]}
    assert not found.unreadable
    assert found.still == pytest.approx((1 + 1 + 19) / 55)


def test_the_figures_of_an_axis_are_those_of_all_frames(folder, originals):
    """Each from its definition, in plain Python."""
    found = summarize_dataset(find_episodes(folder))
    assert tuple(found.axes) == ACTION_COLUMNS
    for column, axis in enumerate(ACTION_COLUMNS):
        values = [action[column] for original in originals for action in original["actions"]]
        mean, median = statistics.fmean(values), statistics.median(values)
        told = found.axes[axis]
        assert told.mean == pytest.approx(mean)
        assert told.std == pytest.approx(statistics.pstdev(values))
        assert (told.min, told.max) == pytest.approx((min(values), max(values)))
        assert told.zeros == pytest.approx(values.count(0.0) / len(values))
        assert told.mean_error == pytest.approx(statistics.fmean(abs(value - mean) for value in values))
        assert told.median_error == pytest.approx(statistics.fmean(abs(value - median) for value in values))


def test_a_constant_scores_well_on_key_levels(folder):
    """16 of 18 and 13 of 18 frames bear one level of linear_x: whoever says that level has learnt nothing."""
    axis = summarize_dataset(sorted(folder.glob("*box*"))).axes["linear_x"]
    assert axis.max == pytest.approx(1.15)
    assert axis.median_error == pytest.approx(1.15 * 5 / 36)


@given(values=nst.arrays(np.float64, st.integers(1, 20), elements=st.floats(-2, 2)), other=st.floats(-3, 3))
def test_no_constant_is_better_than_the_median(values, other):
    axis = AxisStats.of(values)
    assert axis.median_error <= np.abs(values - other).mean() + 1e-12
    assert axis.median_error <= axis.mean_error + 1e-12


def test_an_episode_without_a_flaw_has_none():
    assert quality_issues(episode()) == []


SAME = np.full((6, 4, 6, 3), np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8))
BLANK = np.full((6, 4, 6, 3), np.arange(6, dtype=np.uint8)[:, None, None, None])
FLAWED = {
    "zero": ({"actions": np.zeros((6, 3), np.float32)}, ["all actions are zero"]),
    "one action": ({"actions": np.tile(np.float32([0.1, 0, -0.2]), (6, 1))}, ["all actions are the same"]),
    "one frame": ({"count": 1}, ["fewer than 2 frames"]),
    "no frame": ({"count": 0}, ["fewer than 2 frames"]),
    "blank": ({"frames": BLANK}, ["images are blank"]),
    "same": ({"frames": SAME}, ["images are all the same"]),
    "a step back": ({"timestamps": np.array([0.0, 1, 2, 1.9, 3, 4])}, ["timestamps do not increase"]),
    "a stamp twice": ({"timestamps": np.array([0.0, 1, 2, 2, 3, 4])}, ["timestamps do not increase"]),
    "several": (
        {"actions": np.zeros((6, 3), np.float32), "frames": SAME},
        ["all actions are zero", "images are all the same"],
    ),
}


@pytest.mark.parametrize("case", FLAWED)
def test_each_flaw_is_named(case):
    changes, why = FLAWED[case]
    assert quality_issues(episode(**changes)) == why


@pytest.mark.parametrize("index", [0, 3, 5])
def test_one_picture_among_blank_or_equal_ones_is_no_flaw(index):
    for base in (BLANK, SAME):
        frames = base.copy()
        frames[index] = np.random.default_rng(2).integers(0, 256, (4, 6, 3), np.uint8)
        assert quality_issues(episode(frames=frames)) == []


def test_an_episode_without_stamps_is_not_blamed_for_them():
    assert quality_issues(episode(timestamps=None)) == []


@pytest.mark.parametrize("count", [2, 3, 1000])
def test_three_images_at_most_are_looked_at(count):
    asked = []
    frames = np.random.default_rng(0).integers(0, 256, (count, 4, 6, 3), np.uint8)

    def read(indices=None):
        asked.extend(range(count) if indices is None else indices)
        return frames[list(indices)]

    assert quality_issues(replace(episode(count), frames=read)) == []
    assert asked == sorted({0, count // 2, count - 1})


def test_what_cannot_be_read_is_listed_and_the_rest_is_counted(folder):
    broken = folder / "a" / "broken.h5"
    broken.parent.mkdir()
    broken.write_bytes(b"no episode")
    found = summarize_dataset(find_episodes(folder))
    assert found.episodes == 3
    assert list(found.unreadable) == [str(broken)]
    assert "is not an HDF5 file" in found.unreadable[str(broken)]


def test_an_episode_whose_images_are_damaged_is_not_counted(folder, originals, write_original):
    path = folder / "damaged.h5"
    write_original(path, originals[0])
    h5py = pytest.importorskip("h5py")
    with h5py.File(path) as file:
        where = file["images"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[where.byte_offset : where.byte_offset + where.size] = bytes(where.size)
    path.write_bytes(data)
    found = summarize_dataset(find_episodes(folder))
    assert (found.episodes, list(found.unreadable)) == (3, [str(path)])


def test_files_are_found_at_any_depth_in_order(tmp_path):
    for name in ("b.h5", "a/c.h5", "a/b/d.h5", "a/notes.txt", "e.h5.partial"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.h5").mkdir()
    assert find_episodes(tmp_path) == [tmp_path / name for name in ("a/b/d.h5", "a/c.h5", "b.h5")]
    assert find_episodes(tmp_path / "a" / "notes.txt") == [tmp_path / "a" / "notes.txt"]


def test_a_folder_without_episodes_is_refused(tmp_path):
    with pytest.raises(EpisodeError, match=r"holds no \.h5 file"):
        find_episodes(tmp_path)
    with pytest.raises(EpisodeError, match="does not exist"):
        find_episodes(tmp_path / "nowhere")
