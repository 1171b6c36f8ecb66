"""What becomes of a drive: contact, side, reach, time."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.sim.layout import BaseDynamics, Layout, Pose, sample_layout
from simple_clip_lstm_ros.sim.scenario import Scenario
from simple_clip_lstm_ros.sim.world import REACH, TIME_LIMIT, World


@pytest.fixture
def layout() -> Layout:
    """One box straight ahead, the cup straight behind it, and a base that obeys."""
    drawn = sample_layout(Scenario(1, "hori", "left"), 0)
    (box,) = drawn.boxes
    box = dataclasses.replace(box, pose=Pose(1.2, 0.0, math.pi / 2), length=0.5, width=0.2)
    cup = dataclasses.replace(drawn.cup, x=2.4, y=0.0)
    dynamics = BaseDynamics(0.0, (0.0, 0.0))
    return dataclasses.replace(
        drawn, start=Pose(0.0, 0.0, 0.0), boxes=(box,), cup=cup, distractors=(), dynamics=dynamics
    )


def drive(world: World, *turns: tuple[float, float]) -> World:
    """Along a polyline, from the start; turning on the spot."""
    for x, y in turns:
        while (left := math.hypot(x - world.base.pose.x, y - world.base.pose.y)) > 0.05:
            pose = world.base.pose
            bearing = math.remainder(math.atan2(y - pose.y, x - pose.x) - pose.yaw, math.tau)
            forward = min(0.5, 2.0 * left) if abs(bearing) < 0.3 else 0.0
            world.command(Velocity(forward, 0.0, 3.0 * bearing))
            world.advance(0.1)
            if world.outcome.contact:
                break
    return world


def test_who_drives_straight_on_touches_the_box(layout: Layout) -> None:
    outcome = drive(World(layout), (1.2, 0.0)).outcome
    assert outcome.contact and outcome.ended and not outcome.reached and not outcome.success


def test_the_named_side_is_obeyed(layout: Layout) -> None:
    outcome = drive(World(layout), (0.8, 0.8), (1.6, 0.8), (2.2, 0.0)).outcome
    assert outcome.side == "left" and outcome.obeyed and outcome.reached and outcome.success and outcome.ended
    assert outcome.length == pytest.approx(1.13 + 0.8 + 1.0, abs=0.3)


def test_the_other_side_is_no_success(layout: Layout) -> None:
    outcome = drive(World(layout), (0.8, -0.8), (1.6, -0.8), (2.2, 0.0)).outcome
    assert outcome.side == "right" and outcome.reached and not outcome.contact
    assert outcome.passed and not outcome.obeyed and not outcome.success


def test_who_turns_back_has_not_passed(layout: Layout) -> None:
    world = drive(World(layout), (0.8, 0.8), (1.6, 0.8))
    assert world.outcome.passed
    outcome = drive(world, (0.6, 0.8)).outcome
    assert not outcome.passed and outcome.side is None


def test_two_boxes_are_to_be_passed_on_one_side(layout: Layout) -> None:
    (box,) = layout.boxes
    second = dataclasses.replace(box, pose=Pose(2.4, 0.0, math.pi / 2))
    cup = dataclasses.replace(layout.cup, x=3.6)
    two = dataclasses.replace(layout, boxes=(box, second), cup=cup)
    between = drive(World(two), (0.8, 0.8), (1.8, 0.8), (1.8, -0.8), (3.0, -0.8), (3.4, 0.0)).outcome
    assert between.reached and between.passed and between.side is None and not between.obeyed
    assert drive(World(two), (0.8, 0.8), (3.0, 0.8), (3.4, 0.0)).outcome.success


def test_a_box_blocks_the_robot_and_touching_once_is_touching(layout: Layout) -> None:
    world = drive(World(layout), (1.2, 0.0))
    stopped = world.base.pose
    world.command(Velocity(0.5))
    world.advance(0.4)
    assert stopped.x <= world.base.pose.x < 1.2 - 0.1 - 0.15 + 1e-3
    assert drive(world, (0.5, 0.0)).outcome.contact


def test_reach_is_measured_from_the_cup(layout: Layout) -> None:
    near = dataclasses.replace(layout, start=Pose(2.4, REACH + 0.02, 0.0))
    assert not drive(World(near)).outcome.reached
    inside = dataclasses.replace(layout, start=Pose(2.4, REACH - 0.01, 0.0))
    world = World(inside)
    world.advance(0.1)
    assert world.outcome.reached


def test_a_robot_that_stands_runs_out_of_time(layout: Layout) -> None:
    world = World(layout)
    world.advance(TIME_LIMIT + 0.1)
    assert world.outcome.ended and not world.outcome.success and world.outcome.length == 0.0


def test_a_drive_is_the_same_twice(layout: Layout) -> None:
    one, other = (drive(World(layout), (0.8, 0.8)) for _ in range(2))
    assert one.outcome == other.outcome and one.path == other.path
    assert np.array_equal(one.frame(), other.frame())
