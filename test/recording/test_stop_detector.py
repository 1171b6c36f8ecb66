"""What counts as a stop that is worth keeping."""

from __future__ import annotations

import pytest

from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.guard import GuardReason
from simple_clip_lstm_ros.recording.drive_recorder import GUARD, INFERENCE, StopDetector


def heard(*said):
    alarm = StopDetector()
    return [alarm.update(node, f"{reason.name}: {reason.value}") for node, reason in said]


def test_what_is_said_first_is_no_event():
    assert heard((INFERENCE, Reason.DISABLED), (GUARD, GuardReason.HELD)) == ["", ""]


@pytest.mark.parametrize("reason", [each for each in GuardReason if each is not GuardReason.FORWARDING])
def test_a_guard_that_no_longer_forwards_has_stopped_the_robot(reason):
    said = [(INFERENCE, Reason.MOVING), (GUARD, GuardReason.FORWARDING), (GUARD, reason)]
    assert heard(*said) == ["", "", f"velocity_guard_{reason.name.lower()}"]


def test_either_of_them_disabled_is_an_e_stop_wherever_it_stood_before():
    said = [(INFERENCE, Reason.NO_INSTRUCTION), (GUARD, GuardReason.COMMAND_STALE)]
    said += [(INFERENCE, Reason.DISABLED), (GUARD, GuardReason.DISABLED), (GUARD, GuardReason.DISABLED)]
    assert heard(*said) == ["", "", "inference_disabled", "velocity_guard_disabled", ""]


def test_a_drive_that_ends_in_order_is_no_event():
    said = [(INFERENCE, Reason.MOVING), (GUARD, GuardReason.FORWARDING)]
    said += [(INFERENCE, Reason.INACTIVE), (GUARD, GuardReason.COMMAND_STALE)]
    assert heard(*said) == [""] * 4


def test_a_node_that_was_killed_says_nothing_and_the_guard_does():
    said = [(INFERENCE, Reason.MOVING), (GUARD, GuardReason.FORWARDING), (GUARD, GuardReason.HELD)]
    assert heard(*said)[-1] == "velocity_guard_held"


def test_starting_is_no_stop():
    assert not any(heard((GUARD, GuardReason.NO_COMMAND), (GUARD, GuardReason.FORWARDING), (INFERENCE, Reason.MOVING)))
