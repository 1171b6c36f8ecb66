"""Drives with what the expert would have done."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.sim.layout import sample_layout
from simple_clip_lstm_ros.sim.rollouts import LANDMARKS, PERIOD, Rollout, noisy_expert, rollout
from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario
from simple_clip_lstm_ros.sim.world import SIZE, World

LAYOUT = sample_layout(Scenario(1, "hori", "left"), 3)


def expert_alone(layout=LAYOUT) -> Rollout:
    return rollout(World(layout), "go", lambda frame, right: right)


def test_the_expert_arrives_and_rests() -> None:
    found = expert_alone()
    length = len(found.frames)
    assert found.outcome.success and found.outcome.time == pytest.approx(length * PERIOD)
    assert found.frames.shape == (length, *SIZE, 3) and found.frames.dtype == np.uint8
    assert found.actions.shape == (length, 3) and found.actions.dtype == np.float32
    assert found.landmarks.shape == (length, len(LANDMARKS), 2)
    assert found.actions[:-6, 0].max() == pytest.approx(0.5, abs=1e-3) and abs(found.actions[-1]).max() < 0.1


def test_landmarks_lie_in_the_robots_axes() -> None:
    found = expert_alone()
    cup, first, second, near, far = found.landmarks[0]
    start, box = LAYOUT.start, LAYOUT.boxes[0].pose
    assert math.hypot(*cup) == pytest.approx(math.hypot(LAYOUT.cup.x - start.x, LAYOUT.cup.y - start.y), rel=1e-5)
    assert math.atan2(*first[::-1]) == pytest.approx(math.atan2(box.y - start.y, box.x - start.x) - start.yaw, rel=1e-4)
    assert np.isnan(second).all() and near[1] > 0.0 and math.hypot(*far) == pytest.approx(1.0, abs=0.05)
    assert math.hypot(*found.landmarks[-1, 0]) < 0.3
    two = expert_alone(sample_layout(Scenario(2, "vert", "right"), 3)).landmarks
    assert not np.isnan(two).any()


def test_what_is_kept_is_what_the_expert_would_do_whoever_drives() -> None:
    """A driver that stands still is shown the same way again and again, until time is up."""
    found = rollout(World(LAYOUT), "go", lambda frame, right: ZERO, until=2.0)
    assert len(found.actions) == 10 and found.outcome.length == 0.0
    assert (found.actions == found.actions[0]).all() and found.actions[0, 0] > 0.1


def test_a_drive_ends_with_a_contact() -> None:
    found = rollout(World(LAYOUT), "go", lambda frame, right: Velocity(0.5))
    assert found.outcome.contact and found.outcome.time < 5.0


def test_a_disturbed_expert_goes_other_ways_and_mostly_arrives() -> None:
    calm = expert_alone()
    found = [rollout(World(LAYOUT), "go", noisy_expert(np.random.default_rng(seed), 0.5)) for seed in range(4)]
    assert sum(each.outcome.success for each in found) >= 3
    assert len({each.outcome.length for each in (calm, *found)}) == 5


def test_it_is_the_same_twice() -> None:
    one, other = (
        rollout(World(LAYOUT), "go", noisy_expert(np.random.default_rng(1), 0.5), until=3.0) for _ in range(2)
    )
    assert np.array_equal(one.frames, other.frames) and np.array_equal(one.actions, other.actions)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_differential_bases_get_no_sideways_velocity(scenario: Scenario) -> None:
    found = rollout(World(sample_layout(scenario, 1)), "go", lambda frame, right: right, until=4.0)
    assert not found.actions[:, 1].any()
