"""The Guard, case by case: how long a command is valid, and how fast the robot may speed up."""

from __future__ import annotations

import math

import pytest

from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.control.guard import Guard, GuardReason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.errors import ConfigError

PERIOD, TIMEOUT = 0.05, 0.3
GRACE = 0.1  # s; messages queued during a stall are dropped until then
NODE, SUCCESSOR = b"node", b"its successor"
ALONE = frozenset({NODE})
AHEAD, BACK = Velocity(0.3, 0.0, 0.0), Velocity(-0.3, 0.0, 0.0)
ONE_STEP = Velocity(0.04, 0.0, 0.0)  # reached within one period


def new(limits: Limits | None = None) -> Guard:
    return Guard(limits or Limits(), period=PERIOD, timeout=TIMEOUT)


def forwarding(velocity: Velocity = AHEAD, sources: frozenset[bytes] = ALONE) -> tuple[Guard, float]:
    """Return a guard that forwards `velocity` unchanged, and the time of its last command."""
    guard, now = new(), 100.0
    for _ in range(10):
        now += PERIOD
        decision = guard.on_command(velocity, sources, now)
        assert guard.tick(sources, now) is None
    assert decision == Decision(velocity, GuardReason.FORWARDING)
    return guard, now


def test_it_commands_zero_until_the_first_command():
    assert new().tick(ALONE, 1.0) == Decision(ZERO, GuardReason.NO_COMMAND)


def test_it_forwards_on_arrival_and_ticks_are_silent_meanwhile():
    guard = new()
    guard.tick(ALONE, 0.95)
    decision = guard.on_command(ONE_STEP, ALONE, 1.0)
    assert decision == Decision(ONE_STEP, GuardReason.FORWARDING)
    assert guard.tick(ALONE, 1.02) is None


def test_a_command_that_is_not_finite_is_zero_at_once_and_until_a_finite_one_comes():
    guard, now = forwarding()
    assert guard.on_command(Velocity(0.1, math.nan, 0.0), ALONE, now) == Decision(ZERO, GuardReason.NON_FINITE)
    assert guard.tick(ALONE, now + 0.01) == Decision(ZERO, GuardReason.NON_FINITE)
    assert guard.on_command(ONE_STEP, ALONE, now + PERIOD).reason is GuardReason.FORWARDING


def test_a_command_counts_for_the_timeout_from_its_arrival():
    guard, now = forwarding()
    assert guard.tick(ALONE, now + TIMEOUT - 0.01) is None
    assert guard.tick(ALONE, now + TIMEOUT + 0.01) == Decision(ZERO, GuardReason.COMMAND_STALE, "over 0.3 s")


def test_after_a_stop_it_starts_from_rest():
    guard, now = forwarding()
    for _ in range(8):
        now += PERIOD
        guard.tick(ALONE, now)
    assert guard.on_command(AHEAD, ALONE, now + PERIOD).velocity.linear_x == pytest.approx(0.05)


# The e-stop.


def test_disabled_is_zero_and_survives_commands_time_and_changes_of_source():
    guard, now = forwarding()
    assert guard.enable(False, ALONE)
    for sources in (ALONE, frozenset({SUCCESSOR}), frozenset[bytes](), ALONE):
        now += 1.0
        assert guard.tick(sources, now) == Decision(ZERO, GuardReason.DISABLED)
        assert guard.on_command(AHEAD, sources, now + 3 * PERIOD) == Decision(ZERO, GuardReason.DISABLED)
    guard.update_limits(Limits(), 0.5)
    assert guard.tick(ALONE, now + 3 * PERIOD) == Decision(ZERO, GuardReason.DISABLED)
    assert guard.enable(True, ALONE)
    assert guard.on_command(AHEAD, ALONE, now + 4 * PERIOD).reason is GuardReason.FORWARDING


def test_enabling_alone_publishes_no_motion():
    guard, now = forwarding()
    guard.enable(False, ALONE)
    guard.tick(ALONE, now)
    guard.enable(True, ALONE)
    decision = guard.tick(ALONE, now + 0.01)
    assert decision is None or decision.velocity == ZERO


def test_disabled_and_enabled_between_two_ticks_it_starts_from_rest_all_the_same():
    guard, now = forwarding()
    guard.enable(False, ALONE)  # then its caller publishes a zero
    guard.enable(True, ALONE)
    assert guard.on_command(AHEAD, ALONE, now + PERIOD).velocity.linear_x == pytest.approx(0.05)


# Speed.


def test_limits_scale_all_axes_alike():
    guard, _ = forwarding(Velocity(0.3, 0.0, 0.4))
    guard, now = forwarding(Velocity(0.15, 0.0, 0.2))
    for i in range(1, 10):
        decision = guard.on_command(Velocity(0.6, 0.0, 0.8), ALONE, now + i * PERIOD)
    assert decision.velocity == Velocity(0.3, 0.0, 0.4)


@pytest.mark.parametrize(("gap", "speed"), [(0.01, 0.01), (0.05, 0.05), (0.1, 0.1), (0.25, 0.1)])
def test_speeding_up_takes_max_accel_for_the_time_passed_but_two_periods_at_most(gap, speed):
    guard, now = forwarding(ZERO)
    assert guard.on_command(AHEAD, ALONE, now + gap).velocity.linear_x == pytest.approx(speed)


def test_slowing_down_is_never_delayed():
    guard, now = forwarding()
    assert guard.on_command(ONE_STEP, ALONE, now) == Decision(ONE_STEP, GuardReason.FORWARDING)
    guard, now = forwarding()
    assert guard.on_command(ZERO, ALONE, now) == Decision(ZERO, GuardReason.FORWARDING)


def test_turning_round_goes_through_rest():
    guard, now = forwarding()
    assert guard.on_command(BACK, ALONE, now).velocity == ZERO
    assert guard.on_command(BACK, ALONE, now + PERIOD).velocity.linear_x == pytest.approx(-0.05)


def test_a_deadband_zeroes_the_axis_below_it():
    guard = new(Limits(deadband_velocity=(0.02, 0.0, 0.0)))
    assert guard.on_command(Velocity(0.01, 0.01, 0.0), ALONE, 1.0).velocity == Velocity(0.0, 0.01, 0.0)


# Stalls.


@pytest.mark.parametrize("period", [0.01, PERIOD, 0.5])
@pytest.mark.parametrize("ended_by", ["tick", "command"])
def test_commands_queued_during_a_stall_are_dropped(ended_by, period):
    guard, now = Guard(Limits(), period=period, timeout=TIMEOUT), 100.0
    guard.on_command(ONE_STEP, ALONE, now)
    now += 5.0
    if ended_by == "tick":
        assert guard.tick(ALONE, now) == Decision(ZERO, GuardReason.COMMAND_STALE, "over 0.3 s")
    for later in (0.0, 0.001, GRACE - 0.001):
        assert guard.on_command(AHEAD, ALONE, now + later).velocity == ZERO
    assert guard.counts["commands dropped"] == 3
    assert guard.on_command(ONE_STEP, ALONE, now + GRACE + 0.001).reason is GuardReason.FORWARDING


def test_a_longer_timeout_does_not_bring_a_command_from_before_a_stall_back():
    guard, now = forwarding()
    guard.tick(ALONE, now + 1.0)
    guard.update_limits(Limits(), 5.0)
    assert guard.tick(ALONE, now + 1.0 + PERIOD) == Decision(ZERO, GuardReason.COMMAND_STALE, "over 5 s")


def test_a_successor_is_noticed_after_a_stall_too():
    guard, now = forwarding()
    assert guard.tick(frozenset({SUCCESSOR}), now + 60.0) == Decision(ZERO, GuardReason.HELD)


def test_a_slow_guard_is_not_taken_for_a_stalled_one():
    # With a command_rate of 2 Hz, the time between ticks is longer than the usual timeout.
    guard = Guard(Limits(), period=0.5, timeout=TIMEOUT)
    for i in range(5):
        guard.tick(ALONE, 100.0 + 0.5 * i)
        assert guard.on_command(ONE_STEP, ALONE, 100.1 + 0.5 * i).reason is GuardReason.FORWARDING
    assert guard.counts["commands dropped"] == 0


# Changes during a drive, and counts.


def test_new_limits_hold_from_the_next_command_on():
    guard, now = forwarding()
    guard.update_limits(Limits(max_velocity=(0.1, 0.1, 0.1)), TIMEOUT)
    assert guard.on_command(AHEAD, ALONE, now + 0.001).velocity == Velocity(0.1, 0.0, 0.0)


def test_a_new_timeout_holds_from_the_next_tick_on():
    guard, now = forwarding()
    guard.update_limits(Limits(), 0.1)
    assert guard.tick(ALONE, now + 0.11) == Decision(ZERO, GuardReason.COMMAND_STALE, "over 0.1 s")


@pytest.mark.parametrize("junk", [0.0, -0.1, math.nan, math.inf])
def test_a_timeout_that_is_not_allowed_is_refused_and_changes_nothing(junk):
    with pytest.raises(ConfigError, match=r"^guard_timeout .*positive"):
        Guard(Limits(), period=PERIOD, timeout=junk)
    guard, now = forwarding()
    with pytest.raises(ConfigError, match=r"^guard_timeout .*positive"):
        guard.update_limits(Limits(max_velocity=(0.0, 0.0, 0.0)), junk)
    assert (guard.limits, guard.timeout) == (Limits(), TIMEOUT)
    assert guard.on_command(AHEAD, ALONE, now).velocity == AHEAD


def test_counts_and_durations_of_reasons():
    guard, now = forwarding()  # ten commands
    guard.on_command(Velocity(0.0, 9.0, 0.0), ALONE, now)
    guard.on_command(Velocity(math.inf, 0.0, 0.0), ALONE, now)
    guard.tick(ALONE, now + 1.0)
    guard.on_command(Velocity(9.0, 0.0, 0.0), ALONE, now + 1.0)
    guard.tick(frozenset(), now + 1.5)
    assert guard.counts == {
        "commands": 13,
        "commands clipped": 1,
        "commands dropped": 1,
        "commands not finite": 1,
        "sources changed": 1,
    }
    assert guard.reason_durations.summary() == {
        "NON_FINITE": {"times": 1, "seconds": 1.0},
        "COMMAND_STALE": {"times": 1, "seconds": 0.5},
        "FORWARDING": {"times": 1, "seconds": 0.45},
        "HELD": {"times": 1, "seconds": 0.0},
    }
