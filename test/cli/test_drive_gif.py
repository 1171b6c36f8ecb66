"""A drive as an animated GIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("rclpy")
from simple_clip_lstm_ros.cli.drive_gif import DriveGif
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.sim.layout import Layout, Pose, sample_layout
from simple_clip_lstm_ros.sim.scenario import SCENARIOS


@pytest.fixture
def layout() -> Layout:
    return sample_layout(SCENARIOS[2], 1)


def filmed(views: list[np.ndarray]) -> tuple[DriveGif, list[Pose]]:
    """A robot that drives straight on, 10 poses between two pictures."""
    film = DriveGif()
    for number, view in enumerate(views):
        film.add_frame(view, ("go", f"{number} s"), 10 * number)
    return film, [Pose(0.5 * number / len(views), 0.0, 0.0) for number in range(10 * len(views))]


def shown(path: Path) -> list[np.ndarray]:
    film = Image.open(path)
    frames = []
    for number in range(film.n_frames):
        film.seek(number)
        frames.append(np.array(film.convert("RGB"), int))
    return frames


def test_it_shows_what_was_seen_beside_the_way_from_above(layout: Layout, tmp_path: Path) -> None:
    red, blue = np.full((120, 160, 3), (200, 0, 0), np.uint8), np.full((120, 160, 3), (0, 0, 200), np.uint8)
    film, poses = filmed([red, red, blue, blue])
    film.write(tmp_path / "film.gif", layout, poses)
    frames = shown(tmp_path / "film.gif")
    assert len(frames) == 4
    width = 320
    for frame, color in zip(frames, (red, red, blue, blue), strict=True):
        assert abs(frame[:240, :width] - color[0, 0]).max() < 16
    green = [(abs(frame[:240, width:] - (44, 160, 44)).max(axis=2) < 40).sum() for frame in frames]
    assert green == sorted(green) and green[0] < green[-1], "its way grows"


def test_a_long_drive_of_restless_pictures_stays_small_and_keeps_its_length(layout: Layout, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (30, 40, 3), np.uint8) for _ in range(200)]
    film, poses = filmed([view.repeat(4, axis=0).repeat(4, axis=1) for view in coarse])
    film.write(tmp_path / "film.gif", layout, poses)
    assert (tmp_path / "film.gif").stat().st_size < 3_000_000
    picture = Image.open(tmp_path / "film.gif")
    durations = []
    for number in range(picture.n_frames):
        picture.seek(number)
        durations.append(picture.info["duration"])
    assert sum(durations[:-1]) == pytest.approx(200 * 200, rel=0.02)


def test_a_file_that_cannot_be_written_is_refused(layout: Layout, tmp_path: Path) -> None:
    film, poses = filmed([np.zeros((120, 160, 3), np.uint8)] * 2)
    with pytest.raises(InputError, match="cannot be written"):
        film.write(tmp_path / "nowhere" / "film.gif", layout, poses)
