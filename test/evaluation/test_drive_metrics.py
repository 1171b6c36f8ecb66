"""Shares with intervals, and scores of drives."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.evaluation.metrics import Proportion, summarize_drives, wilson_interval
from simple_clip_lstm_ros.sim.expert import Expert
from simple_clip_lstm_ros.sim.layout import sample_layout
from simple_clip_lstm_ros.sim.scenario import Scenario
from simple_clip_lstm_ros.sim.world import World


@pytest.mark.parametrize(
    "count, total, low, high",
    [(10, 10, 0.7225, 1.0), (0, 20, 0.0, 0.1611), (190, 200, 0.9104, 0.9726), (1, 2, 0.0945, 0.9055)],
)
def test_intervals_are_wilsons(count: int, total: int, low: float, high: float) -> None:
    assert Proportion(count, total).interval == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    "count, total, low, high",
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_closed_form_gives_the_values_of_newcombe_1998(count: int, total: int, low: float, high: float) -> None:
    """Table I, method 3."""
    assert wilson_interval(count, total) == pytest.approx((low, high), abs=5e-5)


def test_more_confidence_takes_a_wider_interval() -> None:
    assert wilson_interval(5, 20, 0.99) == pytest.approx((0.0874, 0.5372), abs=5e-5)


@given(st.integers(1, 300).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_an_interval_holds_its_share_and_narrows_with_more(given: tuple[int, int]) -> None:
    share, more = Proportion(*given), Proportion(10 * given[0], 10 * given[1])
    low, high = share.interval
    assert 0.0 <= low <= share.value <= high <= 1.0
    assert more.interval[1] - more.interval[0] < high - low


def test_of_nothing_nothing_is_known() -> None:
    assert (
        Proportion(0, 0).interval == (0.0, 1.0)
        and math.isnan(Proportion(0, 0).value)
        and str(Proportion(0, 0)) == "of none"
    )


def driven(seed: int, *, straight: bool = False) -> World:
    world = World(sample_layout(Scenario(1, "hori", "left"), seed))
    expert = Expert(world.layout)
    while not world.outcome.ended:
        world.command(Velocity(0.4) if straight else expert(world.base.pose))
        world.advance(0.2)
    return world


def test_a_score_counts_what_became_of_the_drives() -> None:
    good = [driven(seed) for seed in range(3)]
    found = summarize_drives([*good, driven(0, straight=True)])
    assert (found.success, found.contact, found.obeyed) == (Proportion(3, 4), Proportion(1, 4), Proportion(3, 3))
    assert found.time == pytest.approx(sum(world.outcome.time for world in good) / 3)
    assert found.length == pytest.approx(sum(world.outcome.length for world in good) / 3)
    assert math.isnan(summarize_drives([driven(0, straight=True)]).time)


def test_a_straight_drive_is_at_rest_and_a_winding_one_is_not() -> None:
    assert summarize_drives([driven(0, straight=True)]).mean_yaw_acceleration == pytest.approx(0.0, abs=1e-6)
    assert summarize_drives([driven(0)]).mean_yaw_acceleration > 0.1
