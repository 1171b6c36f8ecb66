"""In what words a drive is told."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")
from simple_clip_lstm_ros.cli.demo_drive import describe_outcome
from simple_clip_lstm_ros.sim.layout import Pose, sample_layout
from simple_clip_lstm_ros.sim.scenario import SCENARIOS
from simple_clip_lstm_ros.sim.world import Outcome

CUP = sample_layout(SCENARIOS[0], 0).cup
NEAR = Pose(CUP.x - 1.26, CUP.y, 0.0)


def outcome(*, reached: bool = False, contact: bool = False, side: str | None = None, time: float = 12.34) -> Outcome:
    return Outcome(reached, contact, side, passed=side is not None, obeyed=side is not None, time=time, length=3.0)


@pytest.mark.parametrize(
    "found, told",
    [
        (outcome(reached=True, side="left"), "reached the cup in 12.3 s, passed on the left, touched nothing"),
        (outcome(reached=True), "reached the cup in 12.3 s, touched nothing"),
        (outcome(contact=True), "touched something after 12.3 s, and the cup was 1.3 m away"),
        (outcome(contact=True, reached=True), "touched something after 12.3 s, and the cup was 1.3 m away"),
        (outcome(side="right"), "did not reach the cup in 60 s, passed on the right, and was 1.3 m away from it"),
        (None, "did not reach the cup in 60 s, and was 1.3 m away from it at the end; touched nothing"),
    ],
)
def test_it_is_told_whether_the_cup_was_reached_and_what_was_touched(found: Outcome | None, told: str) -> None:
    assert describe_outcome(found, NEAR, CUP, 60.0).startswith(told)
