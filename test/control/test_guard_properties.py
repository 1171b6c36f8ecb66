"""The Guard under any order of commands, sources, silences and stalls, checked against the events.

Hypothesis generates the events: each rule of `Story` is an event, each invariant holds for every result.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from dataclasses import dataclass

import pytest
from examples import scale_examples
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.control.guard import Guard, GuardReason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity

PERIOD, TIMEOUT = 0.05, 0.3
GRACE = 0.1  # s; messages queued during a stall are dropped until then
# Different on every axis and in both directions, to detect a confusion of axes or signs.
LIMITS = Limits((0.3, 0.2, 0.8), (-0.2, -0.1, -0.6), (1.0, 1.1, 2.0), (-1.5, -1.6, -3.0))
TIGHT = Limits((0.1, 0.05, 0.3), (-0.15, -0.02, -0.1), (0.5, 0.6, 1.0), (-0.7, -0.8, -1.5))
NAMES = (b"a", b"b", b"c")
STORIES = settings(
    max_examples=max(100, scale_examples(200)),  # in fewer it forwards too seldom
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

finite = st.floats(-1.0, 1.0) | st.floats(allow_nan=False, allow_infinity=False)
velocities = st.just(Velocity(0.6, 0.1, -0.5)) | st.builds(Velocity, finite, finite, finite)
broken = st.sampled_from([math.nan, math.inf, -math.inf])
broken_velocities = st.tuples(finite, finite, broken).flatmap(st.permutations).map(lambda three: Velocity(*three))
waits = st.just(PERIOD) | st.sampled_from([0.0, 0.001, 0.013, 0.06, 0.11, 0.26, 0.31, 1.0, 60.0])


@dataclass(frozen=True)
class Answer:
    decision: Decision | None  # None: nothing is published, and the base follows the last command
    expected: GuardReason
    asked: Velocity | None  # the command; None on a tick
    before: Velocity  # the last one published, within the present limits
    passed: float  # s since then
    limits: Limits


met: Counter[enum.Enum] = Counter()


class Story(RuleBasedStateMachine):
    @initialize(sources=st.sets(st.sampled_from(NAMES), min_size=1))
    def begin(self, sources: set[bytes]) -> None:
        self.guard = Guard(LIMITS, period=PERIOD, timeout=TIMEOUT)
        self.limits, self.timeout = LIMITS, TIMEOUT
        self.now, self.last_call, self.stall_end = 1000.0, math.inf, -math.inf
        self.enabled, self.is_held = True, False
        self.present: set[bytes] = sources
        # All sources at each call since the first command, or since the end of a hold; empty before.
        self.history: list[frozenset[bytes]] = []
        self.newest: tuple[Velocity, float] | None = None
        self.before, self.published = ZERO, -math.inf
        self.answers: list[Answer] = []

    def pass_time(self, wait: float) -> frozenset[bytes]:
        """Advance the time; return the sources that the guard sees at its next call."""
        self.now += wait
        if self.now - self.last_call > max(self.timeout, 2 * PERIOD):
            self.stall_end = self.now
            self.newest = self.newest and (self.newest[0], -math.inf)
        self.last_call = self.now
        sources = frozenset(self.present)
        if self.history:
            # A new source, or the end of the last one, is a change.
            if not sources or sources - frozenset.intersection(*self.history):
                self.is_held, self.history = True, []
            else:
                self.history.append(sources)
        return sources

    def reason(self) -> GuardReason:
        if not self.enabled:
            return GuardReason.DISABLED
        if self.is_held:
            return GuardReason.HELD
        if self.newest is None:
            return GuardReason.NO_COMMAND
        velocity, arrival = self.newest
        if self.now - arrival >= self.timeout:
            return GuardReason.COMMAND_STALE
        is_finite = all(map(math.isfinite, velocity.as_tuple()))
        return GuardReason.FORWARDING if is_finite else GuardReason.NON_FINITE

    def note(self, decision: Decision | None, asked: Velocity | None) -> None:
        passed = self.now - self.published
        answer = Answer(decision, self.reason(), asked, self.before, passed, self.limits)
        self.answers = [answer, *self.answers[:7]]  # one rule gives at most eight
        met[self.reason()] += 1
        if decision is not None:
            self.before, self.published = decision.velocity, self.now

    @rule(wait=waits)
    def tick(self, wait: float) -> None:
        sources = self.pass_time(wait)
        self.note(self.guard.tick(sources, self.now), None)

    @rule(velocity=velocities | broken_velocities, wait=waits)
    def command(self, velocity: Velocity, wait: float) -> None:
        sources = self.pass_time(wait)
        if self.now - self.stall_end >= GRACE:
            self.newest = (velocity, self.now)
            self.history = self.history or ([sources] if sources else [])
        self.note(self.guard.on_command(velocity, sources, self.now), velocity)

    @rule(velocity=velocities, times=st.integers(1, 8))
    def drive(self, velocity: Velocity, times: int) -> None:
        for _ in range(times):
            self.command(velocity, PERIOD)

    @rule()
    def silence(self) -> None:
        for _ in range(8):
            self.tick(PERIOD)

    @rule(name=st.sampled_from(NAMES))
    def come_or_go(self, name: bytes) -> None:
        self.present = self.present ^ {name}

    @rule(enabled=st.sampled_from([True, True, False]))
    def enable(self, enabled: bool) -> None:
        sources = frozenset(self.present)
        self.enabled = enabled
        # The user can check the present sources only, not a source that comes later.
        if enabled and self.is_held and sources:
            self.is_held, self.history = False, [sources]
        assert self.guard.enable(enabled, sources) == (not enabled or not self.is_held)
        if not enabled:  # its caller publishes a zero
            self.before = ZERO

    @rule(limits=st.sampled_from([LIMITS, TIGHT]), timeout=st.sampled_from([0.1, TIMEOUT]))
    def adjust(self, limits: Limits, timeout: float) -> None:
        self.guard.update_limits(limits, timeout)
        self.limits, self.timeout, self.before = limits, timeout, limits.clamp(self.before)

    # Invariants of every answer.

    @invariant()
    def it_is_zero_with_its_reason_unless_all_is_well(self) -> None:
        for answer in self.answers:
            if answer.expected is not GuardReason.FORWARDING:
                assert answer.decision is not None, answer
                assert (answer.decision.velocity, answer.decision.reason) == (ZERO, answer.expected), answer
            elif answer.decision is not None:
                assert answer.decision.reason is GuardReason.FORWARDING, answer

    @invariant()
    def it_is_silent_only_on_ticks_while_a_fresh_command_is_in_force(self) -> None:
        for answer in self.answers:
            is_silent = answer.asked is None and answer.expected is GuardReason.FORWARDING
            assert (answer.decision is None) == is_silent, answer

    @invariant()
    def it_asks_no_more_of_any_axis_than_it_was_asked_and_nothing_opposite(self) -> None:
        for answer in self.answers:
            if answer.decision is not None and answer.asked is not None and answer.decision.velocity != ZERO:
                pairs = zip(answer.decision.velocity.as_tuple(), answer.asked.as_tuple(), strict=True)
                assert all(0.0 <= out <= asked or asked <= out <= 0.0 for out, asked in pairs), answer

    @invariant()
    def nothing_is_above_a_limit_or_not_finite(self) -> None:
        for answer in self.answers:
            if answer.decision is not None:
                velocity = answer.decision.velocity.as_tuple()
                bounds = zip(answer.limits.min_velocity, velocity, answer.limits.max_velocity, strict=True)
                assert all(lower <= out <= upper for lower, out, upper in bounds), answer

    @invariant()
    def it_speeds_up_within_max_accel_for_the_time_passed_and_two_periods_at_most(self) -> None:
        for answer in self.answers:
            if answer.decision is not None:
                out, before = answer.decision.velocity.as_tuple(), answer.before.as_tuple()
                for new, old, accel in zip(out, before, answer.limits.max_accel, strict=True):
                    faster = abs(new) - (abs(old) if new * old > 0.0 else 0.0)
                    assert faster <= accel * min(answer.passed, 2 * PERIOD) + 1e-12, answer

    @invariant()
    def slowing_down_is_never_delayed(self) -> None:
        """Check that nothing is faster than the clamped command, whatever it was before."""
        for answer in self.answers:
            if answer.decision is not None and answer.asked is not None and answer.decision.velocity != ZERO:
                target = answer.limits.clamp(answer.asked).as_tuple()
                pairs = zip(answer.decision.velocity.as_tuple(), target, strict=True)
                assert all(abs(out) <= abs(goal) for out, goal in pairs), answer


@pytest.mark.hypothesis  # which marks by itself only what is decorated by `given`
def test_every_story_keeps_the_invariants_forwards_often_and_meets_every_reason_to_stand():
    met.clear()
    run_state_machine_as_test(Story, settings=STORIES)
    assert set(met) == set(GuardReason) - {GuardReason.ENDED}
    assert met[GuardReason.FORWARDING] > met.total() / 8
