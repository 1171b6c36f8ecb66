"""Drives from above, as an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.sim.expert import Expert
from simple_clip_lstm_ros.sim.layout import sample_layout
from simple_clip_lstm_ros.sim.plot import InstructionMark, draw_map, plot_drive, plot_map
from simple_clip_lstm_ros.sim.scenario import SCENARIOS
from simple_clip_lstm_ros.sim.world import World

GREEN, RED = (44, 160, 44), (214, 39, 40)


def driven(straight: bool) -> World:
    world = World(sample_layout(SCENARIOS[2], 1))
    expert = Expert(world.layout)
    while not world.outcome.ended:
        world.command(Velocity(0.4) if straight else expert(world.base.pose))
        world.advance(0.2)
    return world


def pixels(path: Path, colour: tuple[int, int, int]) -> np.ndarray:
    """Columns of those near a colour."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)
    return np.nonzero((abs(image - colour) < 40).all(axis=2))[1]


def test_successes_are_green_and_failures_red_each_in_the_column_of_its_task(tmp_path: Path) -> None:
    plot_map({"good": [driven(False)]}, tmp_path / "good.png")
    plot_map({"bad": [driven(True)]}, tmp_path / "bad.png")
    assert len(pixels(tmp_path / "good.png", RED)) == 0 == len(pixels(tmp_path / "bad.png", GREEN))
    width = cv2.imread(str(tmp_path / "good.png")).shape[1]
    for columns in (pixels(tmp_path / "good.png", GREEN), pixels(tmp_path / "bad.png", RED)):
        assert len(columns) > 20 and 2 / 8 < columns.mean() / width < 3.3 / 8


def test_one_drive_has_the_colour_of_its_end_and_shows_where_it_was_told_what(tmp_path: Path) -> None:
    world = driven(False)
    told = [InstructionMark("go left", 0), InstructionMark("go right", 100)]
    for good, colour, other in ((True, GREEN, RED), (False, RED, GREEN)):
        plot_drive(world.layout, world.path, told, tmp_path / "drive.png", good=good)
        assert len(pixels(tmp_path / "drive.png", colour)) > 500 and not len(pixels(tmp_path / "drive.png", other))
    for marker in ((31, 119, 180), (148, 103, 189)):
        assert len(pixels(tmp_path / "drive.png", marker)) > 50


def test_a_map_tells_where_poses_lie_in_it() -> None:
    world = driven(False)
    found = draw_map(world.layout, world.path, 240)
    assert found.image.shape == (240, 240, 3) and found.image.dtype == np.uint8
    (start_x, start_y), (end_x, end_y) = found.pixels([world.path[0], world.path[-1]])
    assert 0 < start_x < end_x < 240 and 0 < start_y < 240 and 0 < end_y < 240
    box, aside = found.pixels([world.layout.boxes[0].pose, replace(world.path[0], y=world.path[0].y + 0.3)])
    assert found.image[round(box[1]) - 8, round(box[0])].max() < 200, "a box is there"
    assert aside[1] < start_y, "left is up"


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for name in ("nowhere/plot.png", "plot.xyz"):
        with pytest.raises(InputError, match="cannot be written"):
            plot_map({"none": []}, tmp_path / name)
