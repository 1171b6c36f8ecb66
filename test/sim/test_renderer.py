"""Pictures: everything where a pinhole camera sees it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from simple_clip_lstm_ros.sim.layout import Box, Camera, Cylinder, Layout, Light, Pose, Texture, sample_layout
from simple_clip_lstm_ros.sim.renderer import CameraRenderer
from simple_clip_lstm_ros.sim.scenario import SCENARIOS

SIZE = (240, 320)
FOV = math.pi / 2
FOCAL = SIZE[1] / 2 / math.tan(FOV / 2)
EYE = 0.3
RED, BLUE, GREY = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.5, 0.5)
HERE = Pose(0.0, 0.0, 0.0)


def plain(colour: tuple[float, float, float]) -> Texture:
    return Texture("plain", (colour, colour), 1.0)


def cup(x: float, y: float = 0.0) -> Cylinder:
    return Cylinder(x, y, radius=0.1, height=0.2, surface=plain(RED))


def wall(x: float, height: float = 0.4) -> Box:
    return Box(Pose(x, 0.0, 0.0), length=0.2, width=0.6, height=height, surface=plain(BLUE))


@pytest.fixture
def layout() -> Layout:
    """A grey floor without light and shade, a level camera without noise, nothing in sight."""
    return dataclasses.replace(
        sample_layout(SCENARIOS[0], 0),
        start=HERE,
        boxes=(),
        cup=cup(-2.0),
        distractors=(),
        floor=plain(GREY),
        sky=GREY,
        camera=Camera(height=EYE, pitch=0.0, fov=FOV, noise=0.0, gain=1.0),
        light=Light(azimuth=0.0, elevation=1.0, ambient=1.0),
    )


def seen(layout: Layout, pose: Pose = HERE) -> np.ndarray:
    return CameraRenderer(layout, SIZE, np.random.default_rng(0))(pose)


def extent(picture: np.ndarray, colour: tuple[float, float, float]) -> tuple[int, int, int, int]:
    """First and last row, first and last column of the pixels of a colour."""
    rows, columns = np.nonzero((picture == np.array(colour) * 255).all(axis=2))
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def column(left: float, forward: float) -> float:
    return SIZE[1] / 2 - 0.5 - FOCAL * left / forward


def row(height: float, forward: float) -> float:
    return SIZE[0] / 2 - 0.5 - FOCAL * (height - EYE) / forward


@pytest.mark.parametrize("x, y", [(1.0, 0.0), (2.5, 0.4), (1.5, -0.7)])
def test_a_cup_stands_where_a_pinhole_camera_sees_it(layout: Layout, x: float, y: float) -> None:
    picture = seen(dataclasses.replace(layout, cup=cup(x, y)))
    _, bottom, first, last = extent(picture, RED)
    bearing, half = math.atan2(y, x), math.asin(0.1 / math.hypot(x, y))
    assert first == pytest.approx(column(math.tan(bearing + half), 1.0), abs=1.0)
    assert last == pytest.approx(column(math.tan(bearing - half), 1.0), abs=1.0)
    # The rays that meet the front of its foot.
    nearest = x - 0.1 * math.cos(bearing)
    assert bottom == pytest.approx(row(0.0, nearest), abs=1.5)


def test_a_box_stands_where_a_pinhole_camera_sees_it(layout: Layout) -> None:
    top, bottom, first, last = extent(seen(dataclasses.replace(layout, boxes=(wall(1.5),))), BLUE)
    assert first == pytest.approx(column(0.3, 1.4), abs=1.0) and last == pytest.approx(column(-0.3, 1.4), abs=1.0)
    assert top == pytest.approx(row(0.4, 1.4), abs=1.0) and bottom == pytest.approx(row(0.0, 1.4), abs=1.0)


def test_a_camera_that_looks_down_sees_things_higher(layout: Layout) -> None:
    down = dataclasses.replace(layout, camera=dataclasses.replace(layout.camera, pitch=math.radians(10.0)))
    level = extent(seen(dataclasses.replace(layout, cup=cup(2.0))), RED)
    tilted = extent(seen(dataclasses.replace(down, cup=cup(2.0))), RED)
    assert level[1] - tilted[1] == pytest.approx(FOCAL * math.tan(math.radians(10.0)), rel=0.15)


def test_what_stands_behind_is_hidden(layout: Layout) -> None:
    behind = dataclasses.replace(layout, boxes=(wall(1.0),), cup=cup(2.0))
    assert not (seen(behind) == np.array(RED) * 255).all(axis=2).any()
    before = dataclasses.replace(layout, boxes=(wall(2.0),), cup=cup(1.0))
    assert (seen(before) == np.array(RED) * 255).all(axis=2).any()


def test_turning_left_moves_things_right_and_coming_near_makes_them_larger(layout: Layout) -> None:
    one = dataclasses.replace(layout, cup=cup(2.0))
    ahead, turned, near = (extent(seen(one, pose), RED) for pose in (HERE, Pose(0.0, 0.0, 0.3), Pose(1.0, 0.0, 0.0)))
    assert turned[2] > ahead[3] and near[3] - near[2] > 1.8 * (ahead[3] - ahead[2])


def test_what_is_behind_the_camera_is_not_seen(layout: Layout) -> None:
    picture = seen(dataclasses.replace(layout, boxes=(wall(-1.0),)))
    assert (picture == picture[0, 0]).all()


def test_a_turned_box_shows_two_sides_in_different_light(layout: Layout) -> None:
    box = dataclasses.replace(wall(1.5), pose=Pose(1.5, 0.0, math.pi / 4))
    light = Light(azimuth=math.pi * 3 / 4, elevation=0.2, ambient=0.3)
    picture = seen(dataclasses.replace(layout, boxes=(box,), light=light, camera=layout.camera))
    blues = {int(each[2]) for each in picture.reshape(-1, 3) if each[0] == 0 and each[1] == 0}
    assert len(blues) == 2


def test_the_floor_bears_its_pattern(layout: Layout) -> None:
    checks = Texture("checks", ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), 0.2)
    picture = seen(dataclasses.replace(layout, floor=checks, sky=(0.0, 0.0, 0.0)))
    # Of two neighbouring fields half a metre ahead one is bright.
    places = [(0.5, 0.1), (0.5, -0.1)]
    bright = [int(picture[round(row(0.0, x)), round(column(y, x)), 0]) for x, y in places]
    assert abs(bright[0] - bright[1]) > 150


def test_noise_and_gain_are_those_of_the_camera(layout: Layout) -> None:
    dim = dataclasses.replace(layout, camera=dataclasses.replace(layout.camera, gain=0.5))
    assert seen(dim).mean() == pytest.approx(seen(layout).mean() / 2, abs=1.0)
    noisy = dataclasses.replace(layout, camera=dataclasses.replace(layout.camera, noise=4.0))
    assert (seen(noisy).astype(float) - seen(layout)).std() == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_every_world_has_a_picture(scenario) -> None:
    for seed in range(5):
        picture = CameraRenderer(sample_layout(scenario, seed), SIZE, np.random.default_rng(0))(HERE)
        assert picture.shape == (*SIZE, 3) and picture.dtype == np.uint8 and picture.std() > 5.0
