"""The eight tasks and their names."""

from __future__ import annotations

import pytest

from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario


def test_there_are_eight_and_each_bears_its_name() -> None:
    assert len({str(each) for each in SCENARIOS}) == 8
    assert all(Scenario.parse(f"episode_20251112_131153_{each}_core_medium") == each for each in SCENARIOS)


@pytest.mark.parametrize(
    "name, found",
    [
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
def test_a_name_bears_one_or_none(name: str, found: Scenario | None) -> None:
    assert Scenario.parse(name) == found


def test_the_instruction_names_side_and_number() -> None:
    assert Scenario(1, "vert", "left").instruction == "go around the left side of the box and reach the cup"
    assert Scenario(2, "hori", "right").instruction == "go around the right side of the boxes and reach the cup"
