"""`halt` between ticks: it returns what stops the robot at once, and does not affect the next ticks."""

from __future__ import annotations

import math

import pytest

from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.control.governor import Governor, ObservationKey, Reason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity

PERIOD, TIMEOUT = 0.05, 0.5
TICKS = round(TIMEOUT / PERIOD)  # ticks per timeout
AHEAD, ONE_STEP = Velocity(0.3, 0.0, 0.0), Velocity(0.05, 0.0, 0.0)


def new(*, may_move: bool = True) -> Governor:
    governor = Governor(Limits(), period=PERIOD, image_timeout=TIMEOUT, command_timeout=TIMEOUT, may_move=may_move)
    governor.activate()
    governor.set_instruction("go on")
    return governor


def see(governor: Governor, now: float) -> ObservationKey:
    key = governor.on_image(now, now)
    assert key is not None
    return key


def step(governor: Governor, now: float, velocity: Velocity = AHEAD) -> Decision:
    """Run one period of a healthy robot: an image, its action, and the tick."""
    governor.on_action(velocity, see(governor, now))
    return governor.tick(now)


def moving() -> tuple[Governor, float]:
    """Return a governor at full speed, ten ticks after activation, and the time of its last tick."""
    governor, now = new(), 100.0
    for _ in range(10):
        now += PERIOD
        decision = step(governor, now)
    assert decision == Decision(AHEAD, Reason.MOVING)
    return governor, now


# Events that stop a moving robot, by the reason for which it stands from then on.
STOPS = {
    Reason.INACTIVE: (lambda g, now: g.deactivate(), ""),
    Reason.DISABLED: (lambda g, now: g.enable(False), ""),
    Reason.STEP_ERROR: (lambda g, now: g.on_step_failed("out of memory", see(g, now)), "out of memory"),
    Reason.NON_FINITE: (lambda g, now: g.on_action(Velocity(0.1, 0.0, math.nan), see(g, now)), ""),
    Reason.INSTRUCTION_REFUSED: (lambda g, now: g.reject_instruction("why"), "why"),
    Reason.CLOCK_STOPPED: (lambda g, now: [g.tick(now) for _ in range(TICKS)], ""),
    Reason.NO_IMAGE: (lambda g, now: g.activate(), ""),
    Reason.IMAGE_STALE: (lambda g, now: g.halt(now + TIMEOUT + 0.01), "over 0.5 s"),
}


@pytest.mark.parametrize("reason", STOPS, ids=lambda reason: reason.name)
def test_it_says_what_stops_the_robot_before_the_next_tick_does_as_the_tick_would(reason):
    governor, now = moving()
    what_happens, detail = STOPS[reason]
    what_happens(governor, now)
    assert governor.halt(now) == Decision(ZERO, reason, detail)
    assert governor.tick(now) == Decision(ZERO, reason, detail)


def test_untrained_weights_are_a_reason_to_stand_too():
    governor = new(may_move=False)
    see(governor, 1.0)
    assert governor.halt(1.0) == Decision(ZERO, Reason.UNTRAINED)


@pytest.mark.parametrize("text", ["go on", "", "turn round"], ids=["moving", "cleared", "replaced"])
def test_while_it_moves_or_slows_down_it_says_nothing_and_the_ramp_goes_on_as_without_it(text):
    (asked, now), (twin, _) = moving(), moving()
    for governor in (asked, twin):
        governor.set_instruction(text)
    for _ in range(6):
        now += PERIOD
        see(asked, now), see(twin, now)
        assert asked.halt(now - 0.03) is None and asked.halt(now) is None
        assert asked.tick(now) == twin.tick(now)


def test_speeding_up_takes_no_step_between_ticks():
    governor = new()
    governor.on_action(AHEAD, see(governor, 1.0))
    assert [governor.halt(1.0) for _ in range(9)] == [None] * 9
    assert governor.tick(1.0) == Decision(ONE_STEP, Reason.MOVING)


def test_a_robot_that_stands_by_itself_is_not_stopped():
    governor = new()
    see(governor, 1.0)
    assert governor.halt(1.0) is None
    assert governor.tick(1.0) == Decision(ZERO, Reason.NO_ACTION)


def test_what_stops_it_between_two_ticks_has_it_start_from_rest_though_no_tick_saw_it():
    governor, now = moving()
    governor.enable(False)
    assert governor.halt(now + 0.01) == Decision(ZERO, Reason.DISABLED)
    governor.enable(True)
    assert step(governor, now + PERIOD) == Decision(ONE_STEP, Reason.MOVING)


def test_a_stop_that_nobody_asked_for_between_two_ticks_leaves_the_speed():
    """Check the premise of the test above."""
    governor, now = moving()
    governor.enable(False)
    governor.enable(True)
    assert step(governor, now + PERIOD) == Decision(AHEAD, Reason.MOVING)


@pytest.mark.parametrize("enabled", [True, False])
def test_however_often_it_is_asked_no_duration_grows_and_none_begins(enabled):
    governor, now = moving()
    governor.enable(enabled)
    before = governor.reason_durations.summary()
    for i in range(100):
        governor.halt(now + i * 0.0001)
    assert governor.reason_durations.summary() == before == {"MOVING": {"times": 1, "seconds": 0.45}}
    governor.tick(now + PERIOD)
    assert governor.reason_durations.summary()["MOVING"] == {"times": 1, "seconds": 0.5}


def test_however_often_it_is_asked_a_clock_that_stands_still_is_found_out_by_as_many_ticks():
    governor, now = moving()
    reasons = []
    for _ in range(TICKS + 2):
        halts = {governor.halt(now) for _ in range(20)}
        reasons.append(governor.tick(now).reason)
        assert halts == {None} or reasons[-2:] == [Reason.CLOCK_STOPPED] * 2
    assert reasons == [*[Reason.MOVING] * (TICKS - 1), *[Reason.CLOCK_STOPPED] * 3]


def test_being_asked_later_than_the_last_tick_is_no_tick_of_a_running_clock():
    """Check a clock that runs until a halt and then stands still.

    Ticks see the time that the halt has seen.
    """
    governor, now = moving()
    governor.halt(now + 0.01)
    reasons = [governor.tick(now + 0.01).reason for _ in range(TICKS + 1)]
    assert reasons == [*[Reason.MOVING] * TICKS, Reason.CLOCK_STOPPED]


@pytest.mark.parametrize("jump", [-3600.0, -0.3])
def test_a_jump_back_that_it_sees_stops_the_robot_and_counts_once(jump):
    governor, now = moving()
    under_way = see(governor, now)
    assert governor.halt(now + jump) == Decision(ZERO, Reason.IMAGE_STALE, "over 0.5 s")
    governor.on_action(AHEAD, under_way)
    assert governor.tick(now + jump) == Decision(ZERO, Reason.IMAGE_STALE, "over 0.5 s")
    assert governor.counts["clock jumps back"] == governor.counts["actions dropped"] == 1
