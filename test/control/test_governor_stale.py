"""The Governor with late and stale data: it stays late or stale, whatever changes later."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.control.governor import CLOCK_TOLERANCE, Governor, ObservationKey, Reason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity

PERIOD, TIMEOUT, LONGER = 0.05, 0.5, 60.0
AHEAD, BACK = Velocity(0.3, 0.0, 0.0), Velocity(-0.3, 0.0, 0.0)
FROM_REST = Decision(Velocity(0.05, 0.0, 0.0), Reason.MOVING)


def see(governor: Governor, now: float, age: float = 0.0) -> ObservationKey:
    key = governor.on_image(now - age, now)
    assert key is not None
    return key


def moving() -> tuple[Governor, float]:
    """Return a governor at full speed and the time of its last tick."""
    governor, now = Governor(Limits(), period=PERIOD, **timeouts(), may_move=True), 100.0
    governor.activate()
    governor.set_instruction("go on")
    for _ in range(10):
        now += PERIOD
        governor.on_action(AHEAD, see(governor, now))
        decision = governor.tick(now)
    assert decision == Decision(AHEAD, Reason.MOVING)
    return governor, now


def timeouts(image: float = TIMEOUT, command: float = TIMEOUT) -> dict[str, float]:
    return {"image_timeout": image, "command_timeout": command}


# A step that failed too late.


def of_another_instruction(governor: Governor, now: float) -> ObservationKey:
    governor.set_instruction("turn round")
    key = see(governor, now)
    governor.set_instruction("go on")
    return key


def of_another_activation(governor: Governor, now: float) -> ObservationKey:
    key = see(governor, now)
    governor.activate()
    governor.set_instruction("go on")
    return key


def of_the_time_before_a_jump(governor: Governor, now: float) -> ObservationKey:
    key = see(governor, now)
    governor.tick(now - 3600.0)
    governor.tick(now)
    return key


def older_than_the_newest_action_s(governor: Governor, now: float) -> ObservationKey:
    key = see(governor, now)
    governor.on_action(AHEAD, see(governor, now + 0.01))
    return key


LATE: list[Callable[[Governor, float], ObservationKey]] = [
    of_another_instruction,
    of_another_activation,
    of_the_time_before_a_jump,
    older_than_the_newest_action_s,
]


@pytest.mark.parametrize("late", LATE, ids=lambda late: late.__name__)
def test_a_failure_that_comes_too_late_is_counted_and_stops_nothing(late):
    governor, now = moving()
    governor.on_step_failed("why", late(governor, now))
    assert governor.counts["steps failed"] == 1
    # It does not replace the present action either.
    has_action = late is older_than_the_newest_action_s
    see(governor, now + PERIOD)
    decision = governor.tick(now + PERIOD)
    assert decision.reason in ([Reason.MOVING] if has_action else [Reason.STOPPING, Reason.NO_ACTION])


@pytest.mark.parametrize("late", LATE, ids=lambda late: late.__name__)
def test_an_action_on_that_image_would_be_dropped_too(late):
    governor, now = moving()
    governor.on_action(BACK, late(governor, now))
    assert governor.counts["actions dropped"] == 1


def test_a_failure_on_the_newest_action_s_own_image_counts():
    governor, now = moving()
    key = see(governor, now)
    governor.on_action(AHEAD, key)
    governor.on_step_failed("why", key)
    assert governor.tick(now) == Decision(ZERO, Reason.STEP_ERROR, "why")


# Data observed as too old, by the call that observes it.

SEEN_BY: dict[str, Callable[[Governor, float], object]] = {
    "tick": lambda g, now: g.tick(now),
    "halt": lambda g, now: g.halt(now),
    "image": lambda g, now: g.on_image(now + 1.0, now),  # from the future: it does not count itself
}


@pytest.mark.parametrize("seen_by", SEEN_BY)
def test_a_longer_timeout_makes_no_stale_image_fresh_and_a_new_image_counts(seen_by):
    governor, now = moving()
    now += TIMEOUT + 0.01
    SEEN_BY[seen_by](governor, now)
    governor.update_limits(Limits(), **timeouts(LONGER, LONGER))
    for decide in (governor.halt, governor.tick, governor.tick):
        now += PERIOD
        assert decide(now) == Decision(ZERO, Reason.IMAGE_STALE, "over 60 s")
    governor.on_action(AHEAD, see(governor, now))
    assert governor.tick(now) == FROM_REST


@pytest.mark.parametrize("seen_by", SEEN_BY)
def test_a_longer_timeout_makes_no_stale_action_fresh_and_a_new_action_counts(seen_by):
    governor, now = moving()
    see(governor, now + 0.3)
    governor.update_limits(Limits(), **timeouts(LONGER))
    now += TIMEOUT + 0.01
    SEEN_BY[seen_by](governor, now)
    governor.update_limits(Limits(), **timeouts(LONGER, LONGER))
    assert governor.halt(now) is None
    decisions = [governor.tick(now + i * PERIOD) for i in range(3)]
    assert decisions[-1] == Decision(ZERO, Reason.COMMAND_STALE, "over 60 s")
    assert {decision.reason for decision in decisions} == {Reason.COMMAND_STALE}
    now += 3 * PERIOD
    governor.on_action(AHEAD, see(governor, now))
    assert governor.tick(now) == FROM_REST


def test_a_longer_timeout_before_it_is_seen_stale_is_soon_enough():
    governor, now = moving()
    governor.update_limits(Limits(), **timeouts(LONGER, LONGER))
    assert governor.tick(now + 10.0) == Decision(AHEAD, Reason.MOVING)


@pytest.mark.parametrize("seen_by", ["tick", "halt"])
@pytest.mark.parametrize("back", [0.5 * CLOCK_TOLERANCE, 0.3, 0.6])
def test_a_clock_that_goes_back_makes_nothing_fresh(seen_by, back):
    governor, now = moving()
    now += TIMEOUT + 0.02
    SEEN_BY[seen_by](governor, now)
    for decide in (governor.halt, governor.tick, governor.tick):
        now += PERIOD
        assert decide(now - PERIOD - back) == Decision(ZERO, Reason.IMAGE_STALE, "over 0.5 s")


def test_a_shorter_timeout_and_the_former_one_again_leave_stale_what_was_seen_between():
    governor, now = moving()
    governor.update_limits(Limits(), **timeouts(0.1))
    assert governor.halt(now + 0.11) == Decision(ZERO, Reason.IMAGE_STALE, "over 0.1 s")
    governor.update_limits(Limits(), **timeouts())
    assert governor.tick(now + 0.12) == Decision(ZERO, Reason.IMAGE_STALE, "over 0.5 s")


# Stale data is still the newest: older data does not replace it.


def test_an_image_behind_a_stale_one_is_not_to_be_used():
    governor, now = moving()
    governor.tick(now + TIMEOUT + 0.01)
    governor.update_limits(Limits(), **timeouts(LONGER, LONGER))
    assert governor.on_image(now - 0.01, now + TIMEOUT + 0.02) is None
    assert governor.counts["images from the past"] == 1
    assert governor.tick(now + TIMEOUT + PERIOD).reason is Reason.IMAGE_STALE


def test_an_action_on_an_older_image_than_a_stale_action_s_is_dropped():
    governor, now = moving()
    older, newer = see(governor, now), see(governor, now + 0.01)
    governor.on_action(AHEAD, newer)
    now += TIMEOUT + 0.02
    assert governor.tick(now).reason is Reason.IMAGE_STALE
    governor.update_limits(Limits(), **timeouts(LONGER, LONGER))
    see(governor, now)
    governor.on_action(BACK, older)
    assert governor.counts["actions dropped"] == 1
    assert governor.tick(now).reason is Reason.COMMAND_STALE
    governor.on_step_failed("why", older)
    assert governor.tick(now).reason is Reason.COMMAND_STALE
