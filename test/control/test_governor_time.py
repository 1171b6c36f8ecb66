"""The Governor and time: late results, images out of order, clocks that jump, loop or stop."""

from __future__ import annotations

import pytest

from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.control.governor import CLOCK_TOLERANCE, Governor, ObservationKey, Reason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity

PERIOD, TIMEOUT = 0.05, 0.5
TICKS = round(TIMEOUT / PERIOD)  # ticks per timeout
HOUR = 3600.0
AHEAD, BACK, LEFT = Velocity(0.3, 0.0, 0.0), Velocity(-0.3, 0.0, 0.0), Velocity(0.0, 0.0, 0.8)


def new() -> Governor:
    governor = Governor(Limits(), period=PERIOD, image_timeout=TIMEOUT, command_timeout=TIMEOUT, may_move=True)
    governor.activate()
    governor.set_instruction("go on")
    return governor


def see(governor: Governor, now: float, age: float = 0.0) -> ObservationKey:
    key = governor.on_image(now - age, now)
    assert key is not None
    return key


def step(governor: Governor, now: float, velocity: Velocity = AHEAD) -> Decision:
    """Run one period of a healthy robot: an image, its action, and the tick."""
    governor.on_action(velocity, see(governor, now))
    return governor.tick(now)


def moving(now: float = 100.0) -> tuple[Governor, float]:
    """Return a governor at full speed and the time of its last tick."""
    governor = new()
    for _ in range(10):
        now += PERIOD
        decision = step(governor, now)
    assert decision == Decision(AHEAD, Reason.MOVING)
    return governor, now


# Results that come late.


def test_an_action_on_an_older_image_than_the_newest_action_s_is_dropped():
    governor, now = moving()
    older, newer = see(governor, now), see(governor, now + PERIOD)
    governor.on_action(AHEAD, newer)
    governor.on_action(BACK, older)
    assert governor.tick(now + PERIOD).velocity == AHEAD
    assert governor.counts["actions dropped"] == 1


def test_a_second_action_on_the_same_image_replaces_the_first():
    governor, now = moving()
    key = see(governor, now)
    governor.on_action(BACK, key)
    governor.on_action(AHEAD, key)
    assert governor.tick(now + PERIOD).velocity == AHEAD


@pytest.mark.parametrize("text", ["turn around", ""])
def test_an_action_on_an_image_seen_under_another_instruction_is_dropped(text):
    governor, now = moving()
    key = see(governor, now)
    governor.set_instruction(text)
    governor.on_action(AHEAD, key)
    assert governor.tick(now + PERIOD).reason is Reason.STOPPING
    assert governor.counts["actions dropped"] == 1


def test_an_action_from_before_the_instruction_was_set_does_not_count_for_it():
    governor = new()
    governor.set_instruction("")
    key = see(governor, 1.0)
    governor.set_instruction("go on")
    governor.on_action(AHEAD, key)
    assert governor.tick(1.0) == Decision(ZERO, Reason.NO_ACTION)


def test_an_action_from_before_a_reactivation_is_dropped():
    governor, now = moving()
    key = see(governor, now)
    governor.deactivate()
    governor.activate()
    governor.set_instruction("go on")
    see(governor, now)
    governor.on_action(AHEAD, key)
    assert governor.tick(now) == Decision(ZERO, Reason.NO_ACTION)


def test_an_action_does_not_make_its_image_older_or_younger():
    governor = new()
    key = see(governor, 1.0)
    see(governor, 1.4)
    governor.on_action(AHEAD, key)
    assert governor.tick(1.49).reason is Reason.MOVING
    assert governor.tick(1.51).reason is Reason.COMMAND_STALE


# Images out of order, and of other clocks.


def test_an_image_behind_the_newest_is_not_to_be_used_and_the_newest_stays():
    governor, now = moving()
    assert governor.on_image(now - 0.4, now) is None
    assert governor.tick(now + TIMEOUT - 0.01).reason is Reason.MOVING
    assert governor.counts["images from the past"] == 1


def test_an_image_with_the_newest_s_stamp_is_taken():
    governor, now = moving()
    assert see(governor, now) == see(governor, now)


def test_an_image_from_the_future_is_refused_and_the_one_before_stays_the_newest():
    governor, now = moving()
    assert governor.on_image(now + CLOCK_TOLERANCE + 0.01, now) is None
    assert governor.counts["images from the future"] == 1
    assert governor.on_image(now + CLOCK_TOLERANCE / 2, now) is not None
    governor = new()
    assert governor.on_image(1e9, now) is None
    assert governor.tick(now).reason is Reason.NO_IMAGE


# Clocks that jump.


@pytest.mark.parametrize("jump", [-HOUR, -10.0, -0.3])
def test_a_jump_back_stops_it_until_there_is_an_image_and_an_action_of_the_new_time(jump):
    governor, now = moving()
    now += PERIOD + jump
    assert governor.tick(now) == Decision(ZERO, Reason.IMAGE_STALE, "over 0.5 s")
    key = see(governor, now)
    assert governor.tick(now) == Decision(ZERO, Reason.NO_ACTION)
    governor.on_action(AHEAD, key)
    decision = governor.tick(now + PERIOD)
    assert (decision.velocity, decision.reason) == (Velocity(0.05, 0.0, 0.0), Reason.MOVING)
    assert governor.counts["clock jumps back"] == 1


@pytest.mark.parametrize("jump", [-HOUR, -10.0, -0.3])
def test_data_from_before_a_jump_back_never_counts_again_when_the_clock_catches_up(jump):
    governor, now = moving()
    governor.tick(now + PERIOD + jump)
    assert governor.tick(now).velocity == ZERO
    see(governor, now)
    assert governor.tick(now) == Decision(ZERO, Reason.NO_ACTION)


@pytest.mark.parametrize("jump", [-HOUR, -0.3])
@pytest.mark.parametrize("seen_by", ["tick", "image"])
def test_an_action_computed_during_a_jump_back_does_not_count_though_its_age_looks_young(jump, seen_by):
    governor, now = moving()
    under_way = see(governor, now)
    now += PERIOD + jump
    if seen_by == "tick":
        governor.tick(now)
    see(governor, now)
    governor.on_action(AHEAD, under_way)
    # The age of the old image is then positive and small.
    for later in (now, now - jump, now - jump + 0.1):
        assert governor.tick(later).velocity == ZERO
        see(governor, later)
        assert governor.tick(later) == Decision(ZERO, Reason.NO_ACTION)


def test_a_jump_back_before_the_first_image_is_not_a_stale_image():
    governor = new()
    governor.tick(100.0)
    assert governor.tick(50.0) == Decision(ZERO, Reason.NO_IMAGE)


def test_a_jump_back_keeps_the_instruction_and_the_refusal():
    governor, now = moving()
    governor.tick(now - 10.0)
    assert governor.instruction == "go on"
    governor.reject_instruction("why")
    see(governor, now - 20.0)
    assert governor.tick(now - 20.0) == Decision(ZERO, Reason.INSTRUCTION_REFUSED, "why")


def test_a_jump_back_within_the_tolerance_is_no_jump_and_makes_nothing_younger():
    governor, now = moving()
    back = now + PERIOD - CLOCK_TOLERANCE
    assert governor.tick(back) == Decision(AHEAD, Reason.MOVING)
    assert step(governor, now + PERIOD) == Decision(AHEAD, Reason.MOVING)
    assert governor.counts["clock jumps back"] == 0
    governor, now = moving()
    governor.tick(now + TIMEOUT - 0.01)
    assert governor.tick(now + TIMEOUT - 0.08).reason is Reason.MOVING
    governor.tick(now + TIMEOUT + 0.01)
    assert governor.tick(now + TIMEOUT - 0.08).reason is Reason.IMAGE_STALE


@pytest.mark.parametrize("jump", [HOUR, 1.0])
def test_a_jump_forward_stops_it_until_there_is_an_image_and_an_action_of_the_new_time(jump):
    governor, now = moving()
    under_way = see(governor, now)
    now += PERIOD + jump
    assert governor.tick(now) == Decision(ZERO, Reason.IMAGE_STALE, "over 0.5 s")
    governor.on_action(AHEAD, under_way)
    key = see(governor, now)
    assert governor.tick(now) == Decision(ZERO, Reason.COMMAND_STALE, "over 0.5 s")
    governor.on_action(AHEAD, key)
    assert governor.tick(now).reason is Reason.MOVING


def test_a_small_jump_forward_makes_everything_older_and_stops_it_the_earlier():
    governor, now = moving()
    assert governor.tick(now + 0.3 + 0.19).reason is Reason.MOVING
    assert governor.tick(now + 0.3 + 0.21).reason is Reason.IMAGE_STALE


def test_a_clock_set_forward_and_back_again_stops_it_twice_and_it_goes_on():
    governor, now = moving()
    assert governor.tick(now + HOUR).reason is Reason.IMAGE_STALE
    assert step(governor, now + HOUR + PERIOD).reason is Reason.MOVING
    assert governor.tick(now + PERIOD).reason is Reason.IMAGE_STALE
    assert step(governor, now + PERIOD).reason is Reason.MOVING


def test_a_bag_that_loops_stops_it_for_a_moment_at_each_beginning():
    governor = new()
    reasons: list[object] = []
    for _ in range(3):
        reasons.append(governor.tick(50.0).reason)  # /clock comes before the first image
        reasons += [step(governor, 50.0 + i * PERIOD).reason for i in range(40)]
    stopped = [Reason.IMAGE_STALE, *[Reason.MOVING] * 40]
    assert reasons == [Reason.NO_IMAGE, *[Reason.MOVING] * 40, *stopped, *stopped]
    assert governor.counts["clock jumps back"] == 2 and governor.counts["images from the past"] == 0


# Clocks that stand still.


def test_a_clock_that_stops_while_moving_stops_it_within_the_timeout():
    governor, now = moving()
    reasons = [governor.tick(now).reason for _ in range(TICKS + 5)]
    assert reasons == [*[Reason.MOVING] * (TICKS - 1), *[Reason.CLOCK_STOPPED] * 6]


def test_a_clock_that_never_ran_stops_it_within_the_timeout_though_images_come():
    # With use_sim_time and no /clock every time is zero, also the stamp of an unstamped image.
    governor = new()
    decisions = [step(governor, 0.0) for _ in range(TICKS + 5)]
    assert all(decision == Decision(ZERO, Reason.CLOCK_STOPPED) for decision in decisions[TICKS:])


def test_a_clock_that_hovers_within_the_tolerance_stands_still_too():
    governor, now = moving()
    for i in range(TICKS + 2):
        decision = governor.tick(now - 0.09 * (i % 2) - 0.001 * (i % 5))
    assert decision == Decision(ZERO, Reason.CLOCK_STOPPED)


def test_a_clock_that_runs_again_lets_it_go_on_from_rest():
    governor, now = moving()
    for _ in range(TICKS + 1):
        governor.tick(now)
    assert step(governor, now + PERIOD) == Decision(Velocity(0.05, 0.0, 0.0), Reason.MOVING)


def test_a_coarse_clock_is_not_a_stopped_one():
    # If a simulator publishes /clock five times a second, four ticks see the same time.
    governor = new()
    reasons = [step(governor, 100.0 + PERIOD * (i - i % 4)).reason for i in range(80)]
    assert set(reasons) == {Reason.MOVING}


@pytest.mark.parametrize(("image", "command"), [(0.2, TIMEOUT), (TIMEOUT, 0.2), (0.2, HOUR), (HOUR, 0.2)])
def test_the_shorter_timeout_limits_how_long_the_clock_may_stand(image, command):
    governor, now = moving()
    governor.update_limits(Limits(), image_timeout=image, command_timeout=command)
    assert [governor.tick(now).reason for _ in range(4)] == [*[Reason.MOVING] * 3, Reason.CLOCK_STOPPED]
