"""Names of episodes, and what they say of the scenario."""

from __future__ import annotations

import pytest

from simple_clip_lstm_ros.data.episode import Scenario, scenario


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("episode_20251112_131153_1box_hori_left_core_medium", Scenario(1, "hori", "left")),
        ("episode_20251114_151440_1box_hori_right_core_medium", Scenario(1, "hori", "right")),
        ("2box_vert_right__core__medium", Scenario(2, "vert", "right")),
        ("1box_vert_left", Scenario(1, "vert", "left")),
        ("episode_20250808_040913", None),
        ("1box_left__core__medium", None),
        ("episode_3box_hori_left", None),
        ("episode_21box_hori_left", None),
        ("episode_1box_hori_lefty", None),
        ("1box_diag_left", None),
        ("", None),
    ],
)
def test_a_scenario_is_read_off_the_names_that_bear_one(name, found):
    assert scenario(name) == found


def test_a_scenario_is_called_as_in_the_name():
    assert str(Scenario(2, "hori", "left")) == "2box_hori_left"
