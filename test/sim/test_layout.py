"""Worlds drawn from seeds."""

from __future__ import annotations

import itertools
import math

import pytest
from shapely import Point

from simple_clip_lstm_ros.sim.layout import Layout, sample_layout
from simple_clip_lstm_ros.sim.mobile_base import RADIUS
from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario
from simple_clip_lstm_ros.sim.world import REACH

LAYOUTS = [sample_layout(scenario, seed) for scenario in SCENARIOS for seed in range(25)]


def test_a_seed_gives_the_same_world_and_another_seed_another() -> None:
    assert sample_layout(SCENARIOS[0], 7) == sample_layout(SCENARIOS[0], 7)
    assert len({sample_layout(SCENARIOS[0], seed).cup for seed in range(100)}) == 100


def test_a_seed_gives_another_world_in_each_scenario() -> None:
    assert len({sample_layout(scenario, 7).cup for scenario in SCENARIOS}) == 8


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.scenario}-{layout.seed}")
def test_everything_has_its_room(layout: Layout) -> None:
    things = [*layout.boxes, layout.cup, *layout.distractors]
    for one, other in itertools.combinations(layout.boxes, 2):
        assert one.footprint.distance(other.footprint) > 0.02
    for thing in layout.boxes:
        assert thing.footprint.distance(layout.cup.footprint) > REACH
    for thing in things:
        assert thing.footprint.distance(Point(layout.start.x, layout.start.y)) > 2 * RADIUS


def test_boxes_lie_as_the_scenario_says() -> None:
    for layout in LAYOUTS:
        turned = 0.0 if layout.scenario.orientation == "vert" else math.pi / 2
        assert len(layout.boxes) == layout.scenario.boxes
        assert all(abs(box.pose.yaw - turned) <= math.radians(15.0) for box in layout.boxes)
        assert all(box.length > box.width for box in layout.boxes)


def test_the_box_stands_in_the_way() -> None:
    """Otherwise a robot would obey by driving straight on."""
    for layout in LAYOUTS:
        (ax, ay), box = layout.axis, layout.boxes[0]
        aside = ax * (box.pose.y - layout.start.y) - ay * (box.pose.x - layout.start.x)
        assert abs(aside) < 0.6 * box.length + RADIUS


def test_left_and_right_worlds_differ_by_more_than_the_name() -> None:
    left, right = (sample_layout(Scenario(1, "hori", side), 3) for side in ("left", "right"))
    assert left.boxes != right.boxes
