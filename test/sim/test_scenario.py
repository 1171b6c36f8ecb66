"""The eight tasks and their names."""

from __future__ import annotations

from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario


def test_there_are_eight_and_each_bears_its_name() -> None:
    assert len({str(each) for each in SCENARIOS}) == 8
    assert all(Scenario.named_in(f"episode_20251112_131153_{each}_core_medium") == each for each in SCENARIOS)


def test_other_names_bear_none() -> None:
    assert Scenario.named_in("episode_20250808_040913") is None
    assert Scenario.named_in("3box_hori_left") is None


def test_the_instruction_names_side_and_number() -> None:
    assert Scenario(1, "vert", "left").instruction == "go around the left side of the box and reach the cup"
    assert Scenario(2, "hori", "right").instruction == "go around the right side of the boxes and reach the cup"
