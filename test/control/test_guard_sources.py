"""The Guard, case by case: which sources it accepts, and how a user makes it accept others."""

from __future__ import annotations

import pytest

from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.control.guard import Guard, GuardReason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity

PERIOD, TIMEOUT = 0.05, 0.3
NODE, SUCCESSOR, TELEOP = b"node", b"its successor", b"teleop"
NOBODY, ALONE, NEXT = frozenset[bytes](), frozenset({NODE}), frozenset({SUCCESSOR})
BOTH = ALONE | NEXT
AHEAD = Velocity(0.3, 0.0, 0.0)
ONE_STEP = Velocity(0.04, 0.0, 0.0)  # reached within one period


def forwarding(sources: frozenset[bytes] = ALONE) -> tuple[Guard, float]:
    """Return a guard that forwards these sources' commands unchanged, and the time of the last one."""
    guard, now = Guard(Limits(), period=PERIOD, timeout=TIMEOUT), 100.0
    for _ in range(10):
        now += PERIOD
        decision = guard.on_command(AHEAD, sources, now)
        assert guard.tick(sources, now) is None
    assert decision == Decision(AHEAD, GuardReason.FORWARDING)
    return guard, now


def held(sources: frozenset[bytes] = NOBODY) -> tuple[Guard, float]:
    """Return a guard held by a change to `sources`, and the time of its last tick."""
    guard, now = forwarding()
    now += PERIOD
    assert guard.tick(sources, now) == Decision(ZERO, GuardReason.HELD)
    return guard, now


def stands(guard: Guard, sources: frozenset[bytes], now: float, reason: GuardReason = GuardReason.HELD) -> bool:
    """Return whether a tick and a command both give zero for `reason`."""
    tick = guard.tick(sources, now)
    command = guard.on_command(AHEAD, sources, now)
    return tick is not None and (tick.velocity, tick.reason, command.velocity) == (ZERO, reason, ZERO)


# Events that hold the robot, and events that do not.


@pytest.mark.parametrize(
    "after",
    [NOBODY, NEXT, BOTH, BOTH | {TELEOP}],
    ids=["vanished", "replaced", "joined", "joined by two"],
)
def test_a_newcomer_or_the_last_one_s_end_holds_until_enabled(after):
    guard, now = forwarding()
    assert stands(guard, after, now + 0.01)
    # Neither the former source nor time ends the hold.
    for sources in (ALONE, after, ALONE):
        now += 0.2
        assert stands(guard, sources, now)
    assert guard.enable(True, NEXT)
    assert guard.on_command(ONE_STEP, NEXT, now + PERIOD) == Decision(ONE_STEP, GuardReason.FORWARDING)


def test_a_newcomer_s_own_command_is_not_forwarded():
    guard, now = forwarding()
    assert guard.on_command(AHEAD, BOTH, now) == Decision(ZERO, GuardReason.HELD)


def test_one_of_several_may_go():
    guard, now = forwarding(BOTH)
    assert guard.tick(ALONE, now + 0.01) is None
    assert guard.on_command(AHEAD, ALONE, now + PERIOD) == Decision(AHEAD, GuardReason.FORWARDING)
    assert stands(guard, BOTH, now + PERIOD)  # its return is noticed


def test_before_the_first_command_anybody_may_come_and_go():
    guard = Guard(Limits(), period=PERIOD, timeout=TIMEOUT)
    for now, sources in enumerate((NOBODY, ALONE, NEXT, ALONE | {TELEOP})):
        assert guard.tick(sources, float(now)) == Decision(ZERO, GuardReason.NO_COMMAND)
    assert guard.counts["sources changed"] == 0


# Ending a hold.


def test_a_hold_is_not_ended_while_there_is_nobody_to_accept():
    guard, now = held()
    assert not guard.enable(True, NOBODY)
    assert stands(guard, NOBODY, now + PERIOD)
    # The user cannot have checked a source that comes later, even if it is the former one.
    for sources in (NEXT, ALONE):
        now += 2 * PERIOD
        assert stands(guard, sources, now)
    assert guard.enable(True, ALONE)
    assert guard.on_command(ONE_STEP, ALONE, now + PERIOD) == Decision(ONE_STEP, GuardReason.FORWARDING)


@pytest.mark.parametrize("later", [BOTH, ALONE, {TELEOP}, NOBODY], ids=["joined", "former", "another", "vanished"])
@pytest.mark.parametrize("has_commanded", [False, True])
def test_exactly_those_are_accepted_who_are_there_when_it_is_ended(later, has_commanded):
    guard, now = held(NEXT)
    assert guard.enable(True, NEXT)
    if has_commanded:
        now += PERIOD
        assert guard.on_command(ONE_STEP, NEXT, now).reason is GuardReason.FORWARDING
    assert stands(guard, frozenset(later), now + PERIOD)


def test_of_those_who_are_there_when_it_is_ended_any_may_command():
    guard, now = held(BOTH)
    assert guard.enable(True, BOTH)
    assert guard.on_command(ONE_STEP, BOTH, now + PERIOD).reason is GuardReason.FORWARDING


def test_a_killed_source_that_leaves_the_graph_late_does_not_hold_its_successor():
    guard, now = held(BOTH)
    assert guard.enable(True, BOTH)
    guard.on_command(AHEAD, BOTH, now + PERIOD)
    assert guard.on_command(AHEAD, NEXT, now + 2 * PERIOD).reason is GuardReason.FORWARDING


def test_commanding_during_a_hold_makes_nobody_accepted():
    guard, now = held(NEXT)
    guard.on_command(AHEAD, NEXT, now)
    assert guard.enable(True, ALONE)
    assert stands(guard, NEXT, now + PERIOD)


def test_ending_a_hold_alone_publishes_no_motion():
    guard, now = held(NEXT)
    guard.on_command(AHEAD, NEXT, now)
    guard.enable(True, NEXT)
    decision = guard.tick(NEXT, now + 0.01)
    assert decision is None or decision.velocity == ZERO
    assert guard.on_command(AHEAD, NEXT, now + PERIOD).velocity.linear_x == pytest.approx(0.05)


def test_disabling_ends_no_hold():
    guard, now = held(NEXT)
    assert guard.enable(False, NEXT)
    assert stands(guard, NEXT, now + PERIOD, GuardReason.DISABLED)
    assert not guard.enable(True, NOBODY)
    assert stands(guard, NEXT, now + 2 * PERIOD)


# The e-stop, while nothing is held.


@pytest.mark.parametrize("present", [ALONE, NEXT, BOTH, NOBODY], ids=["same", "replaced", "joined", "vanished"])
def test_enabled_while_not_held_it_accepts_nobody_else(present):
    guard, now = forwarding()
    assert guard.enable(True, present)
    assert guard.on_command(AHEAD, ALONE, now + PERIOD).reason is GuardReason.FORWARDING
    assert stands(guard, NEXT, now + PERIOD)


def test_disabled_killed_enabled_restarted_it_is_held():
    guard, now = forwarding()
    assert guard.enable(False, ALONE)
    for _ in range(40):
        now += PERIOD
        assert guard.tick(NOBODY, now) == Decision(ZERO, GuardReason.DISABLED)
    assert not guard.enable(True, NOBODY)
    for _ in range(40):
        now += PERIOD
        assert guard.tick(NOBODY, now) == Decision(ZERO, GuardReason.HELD)
    assert stands(guard, NEXT, now + PERIOD)


def test_disabled_killed_enabled_restarted_between_two_ticks_it_is_held_too():
    guard, now = forwarding()
    guard.enable(False, ALONE)
    guard.enable(True, NOBODY)
    assert stands(guard, NEXT, now + 0.01)


def test_a_source_that_lives_through_the_e_stop_goes_on():
    guard, now = forwarding()
    guard.enable(False, ALONE)
    assert stands(guard, ALONE, now + PERIOD, GuardReason.DISABLED)
    assert guard.enable(True, ALONE)
    assert guard.on_command(ONE_STEP, ALONE, now + 2 * PERIOD) == Decision(ONE_STEP, GuardReason.FORWARDING)
    assert guard.counts["sources changed"] == 0
