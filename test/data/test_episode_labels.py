"""Which instruction an episode was driven on, and its actions in m/s and rad/s."""

from __future__ import annotations

import numpy as np
import pytest

from simple_clip_lstm_ros.data.dataset import instruction_of, velocities_of
from simple_clip_lstm_ros.data.episode import KEY_LEVELS, METRES_AND_RADIANS, Episode
from simple_clip_lstm_ros.errors import EpisodeError


def episode(name="drive", text=None, units=None) -> Episode:
    actions = np.array([[1.15, 0.0, -1.15], [0.5, 0.25, 0.0]], np.float32)
    return Episode(
        name, actions, ("episode_start", "start_action"), None, text, 1.0, None, units, lambda _=None: actions
    )


def test_the_episode_s_own_instruction_comes_first_then_its_name_then_what_is_given() -> None:
    named = "1box_hori_left_007"
    assert instruction_of(episode(named, "go to the cup"), "turn") == "go to the cup"
    for blank in (None, "", "  "):
        assert instruction_of(episode(named, blank), "turn") == "go around the left side of the box and reach the cup"
        assert instruction_of(episode("drive", blank), "turn") == "turn"


@pytest.mark.parametrize("given", [None, "", " "])
def test_no_instruction_is_refused_with_the_option_to_give_one(given) -> None:
    with pytest.raises(EpisodeError, match=r"episode drive .*--instruction TEXT"):
        instruction_of(episode(), given)


@pytest.mark.parametrize("scale", [None, (2.0, 2.0, 2.0)])
def test_velocities_are_taken_as_they_are(scale) -> None:
    given = episode(units=METRES_AND_RADIANS)
    assert np.array_equal(velocities_of(given, scale), given.actions)


@pytest.mark.parametrize("units", [None, KEY_LEVELS])
def test_other_numbers_become_velocities_by_the_factors(units) -> None:
    found = velocities_of(episode(units=units), (0.4, 0.2, 2.0))
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array([[0.46, 0.0, -2.3], [0.2, 0.05, 0.0]]), rel=1e-6)


@pytest.mark.parametrize(("units", "told"), [(None, "a unit that it does not state"), (KEY_LEVELS, "in key levels")])
def test_other_numbers_without_factors_are_refused_with_the_option_to_give_them(units, told) -> None:
    with pytest.raises(EpisodeError, match=f"episode drive .*{told}.*--action-scale X Y ANGULAR"):
        velocities_of(episode(units=units), None)
