"""The seeded photographs: real, different, and the same every time."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest

from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.policy import sample_images as module
from simple_clip_lstm_ros.policy.sample_images import load_sample_images, sample_crops


def test_there_are_at_least_eight_different_photographs_in_rgb():
    images = load_sample_images()
    assert len(images) >= 8
    for image in images:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and min(image.shape[:2]) >= 240
        assert image.std() > 10, "a photograph, not a blank"
    corners = [image[:240, :240] for image in images]
    assert all(np.abs(a.astype(int) - b).mean() > 10 for a, b in combinations(corners, 2))
    assert any((image[:, :, 0] != image[:, :, 2]).any() for image in images), "some are in colour"


def test_the_same_seed_gives_the_same_crops_and_another_seed_others():
    first, again, other = (list(sample_crops(12, seed=seed)) for seed in (3, 3, 4))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert all((a != b).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("size", [(240, 320), (56, 56), (1, 7)])
def test_crops_are_frames_of_the_size_asked_for(size):
    frames = list(sample_crops(11, size=size))
    assert len(frames) == 11
    for frame in frames:
        assert frame.shape == (*size, 3) and frame.dtype == np.uint8
        assert frame.flags.c_contiguous


def test_photographs_come_in_turn():
    count = len(load_sample_images())
    frames = list(sample_crops(count + 1, size=(200, 300)))
    assert all((a != b).any() for a, b in combinations(frames, 2))


def test_a_photograph_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    with pytest.raises(InputError, match=r"astronaut\.jpg cannot be read: install simple_clip_lstm_ros again"):
        next(sample_crops(1))


def test_each_photograph_is_credited_and_they_are_small():
    files = {file.name: file.stat().st_size for file in module.FOLDER.glob("*.jpg")}
    assert set(files) == {f"{name}.jpg" for name in module.NAMES}
    assert sum(files.values()) < 1_000_000
    rows = re.findall(r"^\| `(\w+\.jpg)` \|.*\| (.*) \|$", (module.FOLDER / "README.md").read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == set(files)
    assert {licence for _, licence in rows} <= {"public domain", "CC0", "no known copyright restrictions"}
