"""The expert arrives on the named side, from anywhere."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely import Point

from simple_clip_lstm_ros.control.velocity import ZERO
from simple_clip_lstm_ros.sim.expert import STOP, Expert
from simple_clip_lstm_ros.sim.layout import Pose, sample_layout
from simple_clip_lstm_ros.sim.mobile_base import DIFFERENTIAL, RADIUS
from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario
from simple_clip_lstm_ros.sim.world import Outcome, World

PERIOD = 0.2  # s


def drive(world: World, expert: Expert | None = None, until: float = math.inf) -> Outcome:
    expert = expert or Expert(world.layout)
    while not world.outcome.ended and world.base.time < until:
        world.command(expert(world.base.pose))
        world.advance(PERIOD)
    return world.outcome


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_it_arrives_on_the_named_side_without_contact(scenario: Scenario) -> None:
    outcomes = [drive(World(sample_layout(scenario, seed))) for seed in range(10)]
    assert all(outcome.success for outcome in outcomes)
    assert all(outcome.time < 20.0 for outcome in outcomes)


def test_it_mostly_gets_away_from_close_beside_a_box() -> None:
    """Five centimetres from the robot's body, and wherever it looks."""
    layout = sample_layout(Scenario(1, "vert", "left"), 5)
    (box,) = layout.boxes
    edge = box.footprint.buffer(RADIUS + 0.05).exterior
    outcomes = []
    for direction, yaw in product((-3.0, -2.0, -1.0, 0.5, 1.5, 2.5), (-2.0, 0.0, 2.0)):
        far = Point(box.pose.x + 3.0 * math.cos(direction), box.pose.y + 3.0 * math.sin(direction))
        start = edge.interpolate(edge.project(far))
        outcomes.append(drive(World(replace(layout, start=Pose(start.x, start.y, yaw)))))
    assert sum(outcome.reached and not outcome.contact for outcome in outcomes) >= 15


@pytest.mark.parametrize("changed", [0.6, 1.4, 2.2])
def test_told_another_side_on_its_way_it_turns_and_arrives(changed: float) -> None:
    """Close before a box it may still scrape that."""
    outcomes = []
    for seed in range(24):
        layout = sample_layout(SCENARIOS[seed % len(SCENARIOS)], seed)
        world = World(layout)
        drive(world, Expert(replace(layout, scenario=layout.scenario.other_side)), until=changed)
        outcomes.append(drive(world))
    assert all(outcome.obeyed for outcome in outcomes if outcome.passed)
    assert sum(outcome.success for outcome in outcomes) >= (24 if changed < 2.0 else 22)


poses = st.tuples(st.floats(-0.5, 4.5), st.floats(-1.5, 1.5), st.floats(-math.pi, math.pi))


@settings(max_examples=60, deadline=None)
@given(pose=poses, scenario=st.sampled_from(SCENARIOS), seed=st.integers(0, 1000))
def test_from_any_pose_it_finds_a_way_that_touches_nothing(pose, scenario: Scenario, seed: int) -> None:
    layout = sample_layout(scenario, seed)
    solid = [box.footprint for box in layout.boxes]
    assume(all(each.distance(Point(*pose[:2])) > RADIUS + 0.05 for each in solid))
    way = Expert(layout).shortest_path(Pose(*pose))
    assert way.coords[0] == pytest.approx(pose[:2]) and way.coords[-1] == pytest.approx((layout.cup.x, layout.cup.y))
    assert all(way.distance(each) > RADIUS for each in solid)
    velocity = Expert(layout)(Pose(*pose))
    assert velocity.is_finite and DIFFERENTIAL.clamp(velocity) == velocity


def test_on_the_wrong_side_it_turns_back_as_long_as_it_can() -> None:
    layout = sample_layout(Scenario(1, "hori", "left"), 1)
    (box,) = layout.boxes
    before = Pose(box.pose.x - 0.2, box.pose.y - 0.8, 0.0)
    way = Expert(layout).shortest_path(before)
    assert max(y for _, y in way.coords) > box.pose.y + box.length / 2


def test_at_the_cup_it_stops() -> None:
    layout = sample_layout(SCENARIOS[0], 0)
    assert Expert(layout)(Pose(layout.cup.x - STOP + 0.01, layout.cup.y, 0.0)) == ZERO
