"""Single views of many worlds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simple_clip_lstm_ros.sim.layout import sample_layout
from simple_clip_lstm_ros.sim.rollouts import LANDMARKS, sample_views
from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario
from simple_clip_lstm_ros.sim.world import SIZE

TEXT = "go around the box"


def seen(scenario: Scenario, count: int = 40, seed: int = 0):
    return sample_views([sample_layout(scenario, each) for each in range(count)], TEXT, np.random.default_rng(seed))


def test_each_layout_gives_one_frame_with_the_expert_s_word() -> None:
    found = seen(SCENARIOS[0], 6)
    assert found.instruction == TEXT
    assert found.frames.shape == (6, *SIZE, 3) and found.frames.dtype == np.uint8
    assert found.actions.shape == (6, 3) and found.actions.dtype == np.float32
    assert found.landmarks.shape == (6, len(LANDMARKS), 2)
    assert len({frame.tobytes() for frame in found.frames}) == 6


def test_it_is_the_same_for_the_same_seed_only() -> None:
    one, same, other = seen(SCENARIOS[0], 3), seen(SCENARIOS[0], 3), seen(SCENARIOS[0], 3, seed=1)
    assert np.array_equal(one.frames, same.frames) and np.array_equal(one.actions, same.actions)
    assert not np.array_equal(one.frames, other.frames)


@pytest.mark.parametrize("scenario", [Scenario(1, "hori", "left"), Scenario(2, "vert", "right")], ids=str)
def test_what_is_out_of_view_has_no_place(scenario: Scenario) -> None:
    """The way always has; cup and boxes only before the camera, whose fov is at most 85 degrees; some are hidden."""
    places = seen(scenario).landmarks
    assert not np.isnan(places[:, 3:]).any()
    for thing in range(1 + scenario.boxes):
        here = places[:, thing]
        visible = here[~np.isnan(here[:, 0])]
        assert 0.1 < len(visible) / len(here) < 0.95
        assert np.abs(np.arctan2(visible[:, 1], visible[:, 0])).max() < math.radians(85.0 / 2)
    assert np.isnan(places[:, 2]).all() == (scenario.boxes == 1)


def test_the_expert_turns_either_way_from_there() -> None:
    turns = seen(SCENARIOS[0]).actions[:, 2]
    assert (turns > 0.3).sum() > 3 and (turns < -0.3).sum() > 3
