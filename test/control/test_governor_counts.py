"""The Governor while limits and timeouts change during a drive, and its counts."""

from __future__ import annotations

import math

import pytest

from simple_clip_lstm_ros.control.decision import ReasonDurations
from simple_clip_lstm_ros.control.governor import Governor, ObservationKey, Reason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.errors import ConfigError

PERIOD = 0.05
TIMEOUTS = {"image_timeout": 0.5, "command_timeout": 0.6}
CRUISE = Velocity(0.3, 0.0, -0.4)
SLOWER = Limits(max_velocity=(0.1, 0.1, 0.8), min_velocity=(-0.1, -0.1, -0.05))


def moving() -> tuple[Governor, float]:
    """Return a governor at full speed and the time of its last tick.

    It has had ten images, actions and ticks since activation.
    """
    governor, now = Governor(Limits(), period=PERIOD, **TIMEOUTS, may_move=True), 100.0
    governor.activate()
    governor.set_instruction("go on")
    for _ in range(10):
        now += PERIOD
        governor.on_action(CRUISE, see(governor, now))
        decision = governor.tick(now)
    assert decision.velocity == CRUISE
    return governor, now


def see(governor: Governor, now: float) -> ObservationKey:
    key = governor.on_image(now, now)
    assert key is not None
    return key


# Limits and timeouts that change.


@pytest.mark.parametrize("text", ["go on", "turn round"])  # driving on, and slowing down
def test_from_the_tick_after_a_change_nothing_is_above_the_new_limits(text):
    governor, now = moving()
    governor.set_instruction(text)
    governor.update_limits(SLOWER, **TIMEOUTS)
    for _ in range(5):
        now += PERIOD
        velocity = governor.tick(now).velocity
        assert SLOWER.clamp(velocity) == velocity != ZERO or text != "go on"
    assert governor.limits is SLOWER


def test_a_new_limit_keeps_the_curvature():
    governor, now = moving()
    governor.update_limits(SLOWER, **TIMEOUTS)
    velocity = governor.tick(now + PERIOD).velocity
    assert velocity.as_tuple() == pytest.approx((0.0375, 0.0, -0.05))


def test_wider_limits_are_approached_within_the_acceleration():
    governor, now = moving()
    governor.update_limits(Limits(max_velocity=(1.0, 1.0, 1.0)), **TIMEOUTS)
    governor.on_action(Velocity(1.0, 0.0, 0.0), see(governor, now))
    velocity = governor.tick(now + PERIOD).velocity
    assert 0.3 < velocity.linear_x <= 0.35 + 1e-12


def test_a_shorter_timeout_holds_from_the_next_tick_on():
    governor, now = moving()
    governor.update_limits(Limits(), image_timeout=0.1, command_timeout=0.6)
    assert governor.tick(now + 0.11).reason is Reason.IMAGE_STALE
    governor, now = moving()
    see(governor, now + 0.05)
    governor.update_limits(Limits(), image_timeout=0.5, command_timeout=0.1)
    assert governor.tick(now + 0.11).reason is Reason.COMMAND_STALE


@pytest.mark.parametrize("name", TIMEOUTS)
@pytest.mark.parametrize("junk", [0.0, -1.0, math.nan, math.inf])
def test_a_change_to_a_timeout_that_is_not_allowed_is_refused_and_changes_nothing(name, junk):
    governor, now = moving()
    with pytest.raises(ConfigError, match=f"^{name} .*positive"):
        governor.update_limits(SLOWER, **{**TIMEOUTS, name: junk})
    assert governor.limits == Limits()
    assert (governor.image_timeout, governor.command_timeout) == (0.5, 0.6)
    assert governor.tick(now + PERIOD).velocity == CRUISE


def test_a_change_says_nothing_about_enable_instruction_or_age():
    governor, now = moving()
    governor.enable(False)
    governor.update_limits(Limits(), **TIMEOUTS)
    assert governor.tick(now).reason is Reason.DISABLED
    governor.enable(True)
    assert governor.tick(now + 0.51).reason is Reason.IMAGE_STALE


# Counts.


def test_counts_begin_at_zero_with_every_name():
    governor = Governor(Limits(), period=PERIOD, **TIMEOUTS, may_move=True)
    assert list(governor.counts) == [
        *("images", "images from the future", "images from the past"),
        *("actions", "actions clipped", "actions dropped", "actions not finite", "steps failed"),
        *("instructions refused", "clock jumps back"),
    ]
    assert not any(governor.counts.values())


def changed(governor: Governor, before: dict[str, int]) -> dict[str, int]:
    return {name: count - before[name] for name, count in governor.counts.items() if count != before[name]}


COUNTED_EVENTS = {
    "an image": (lambda g, now: see(g, now), {"images": 1}),
    "from the future": (lambda g, now: g.on_image(now + 9.0, now), {"images": 1, "images from the future": 1}),
    "from the past": (lambda g, now: g.on_image(now - 0.2, now), {"images": 1, "images from the past": 1}),
    "an action": (lambda g, now: g.on_action(CRUISE, see(g, now)), {"images": 1, "actions": 1}),
    "clipped": (
        lambda g, now: g.on_action(Velocity(0.0, 0.31, 0.0), see(g, now)),
        {"images": 1, "actions": 1, "actions clipped": 1},
    ),
    "dropped": (
        lambda g, now: g.on_action(Velocity(9.0, 0.0, 0.0), ObservationKey(now, "another", 0)),
        {"actions": 1, "actions dropped": 1},
    ),
    "not finite": (
        lambda g, now: g.on_action(Velocity(9.0, 0.0, math.inf), see(g, now)),
        {"images": 1, "actions": 1, "actions not finite": 1},
    ),
    "failed": (lambda g, now: g.on_step_failed("why", see(g, now)), {"images": 1, "steps failed": 1}),
    "failed too late": (lambda g, now: g.on_step_failed("why", ObservationKey(now, "another", 0)), {"steps failed": 1}),
    "refused": (lambda g, now: g.reject_instruction("why"), {"instructions refused": 1}),
    "jump seen by a tick": (lambda g, now: g.tick(now - 1.0), {"clock jumps back": 1}),
    "jump seen by an image": (lambda g, now: g.on_image(now - 1.0, now - 1.0), {"images": 1, "clock jumps back": 1}),
    "no jump": (lambda g, now: g.tick(now - 0.09), {}),
    "ordinary events": (lambda g, now: [g.set_instruction("x"), g.enable(False), g.tick(now), g.deactivate()], {}),
}


@pytest.mark.parametrize("case", COUNTED_EVENTS)
def test_each_count_counts_what_its_name_says(case):
    event, expected = COUNTED_EVENTS[case]
    governor, now = moving()
    before = dict(governor.counts)
    event(governor, now)
    assert changed(governor, before) == expected


def test_deactivation_keeps_the_counts_and_activation_resets_them():
    governor, now = moving()
    governor.deactivate()
    governor.tick(now)
    assert governor.counts["images"] == governor.counts["actions"] == 10
    assert governor.reason_durations.summary()["MOVING"] == {"times": 1, "seconds": 0.5}
    governor.activate()
    assert not any(governor.counts.values()) and governor.reason_durations.summary() == {}
    governor.tick(now)
    assert list(governor.reason_durations.summary()) == ["NO_IMAGE"]


def test_durations_say_how_often_and_how_long_each_reason_held_the_longest_first():
    governor, now = moving()
    for enabled, ticks in ((False, 4), (True, 2), (False, 3), (True, 1)):
        governor.enable(enabled)
        for _ in range(ticks):
            now += PERIOD
            see(governor, now)
            governor.tick(now)
    assert list(governor.reason_durations.summary().items()) == [
        ("MOVING", {"times": 3, "seconds": 0.6}),
        ("DISABLED", {"times": 2, "seconds": 0.35}),
    ]


def test_durations_do_not_depend_on_jumps_of_the_clock():
    governor, now = moving()
    governor.tick(now + 3600.0)
    governor.tick(now)
    assert governor.reason_durations.summary() == {
        "MOVING": {"times": 1, "seconds": 0.5},
        "IMAGE_STALE": {"times": 1, "seconds": 0.05},
    }


def test_a_reason_that_holds_is_entered_once_and_its_time_runs_up_to_the_last_note():
    reason_durations = ReasonDurations()
    assert reason_durations.summary() == {}
    for now in (1.0, 1.5, 4.0):
        reason_durations.note(Reason.MOVING, now)
    assert reason_durations.summary() == {"MOVING": {"times": 1, "seconds": 3.0}}
    reason_durations.note(Reason.DISABLED, 5.0)
    assert reason_durations.summary() == {
        "MOVING": {"times": 1, "seconds": 4.0},
        "DISABLED": {"times": 1, "seconds": 0.0},
    }
