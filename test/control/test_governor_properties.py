"""The Governor under any order of events, compared at every tick with an oracle that knows only the events.

Each rule of `Drive` is an event or a stretch of driving.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from governor_oracle import Oracle
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.control.governor import Governor, ObservationKey, Reason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity

PERIOD, IMAGE_TIMEOUT, COMMAND_TIMEOUT = 0.05, 0.5, 0.4
# Different on every axis and in both directions, to detect a confusion of axes or signs.
LIMITS = Limits((0.3, 0.2, 0.8), (-0.2, -0.1, -0.6), (1.0, 1.1, 2.0), (-1.5, -1.6, -3.0))
TIGHT = Limits((0.1, 0.05, 0.3), (-0.15, 0.0, -0.1), (0.5, 0.6, 1.0), (-0.7, -0.8, -1.5))
TEXTS = ("go left", "go right")
LONGEST = 12  # maximum of ticks in one rule
STORIES = settings(
    max_examples=100,  # fewer would not meet each reason
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

finite = st.floats(-1.0, 1.0) | st.floats(allow_nan=False, allow_infinity=False)
broken = st.sampled_from([math.nan, math.inf, -math.inf])
velocities = st.just(Velocity(0.6, 0.1, -0.5)) | st.builds(Velocity, finite, finite, finite)
broken_velocities = st.tuples(finite, finite, broken).flatmap(st.permutations).map(lambda three: Velocity(*three))
# Mostly fresh; stale by either timeout; from the past; from the future, within the tolerance and beyond.
ages = st.just(0.0) | st.sampled_from([0.1, 0.39, 0.45, 0.6, -0.053, -0.51, -30.03])
# Mostly one period; a late tick; a long silence; clocks that stand still, run back, jump, and catch up.
waits = st.just(PERIOD) | st.sampled_from([0.0, 0.07, 0.3, 0.6, -0.05, -0.083, -0.3, -3600.07, 3600.03, 0.35])


@dataclass(frozen=True)
class Tick:
    before: Velocity  # one tick earlier, within the present limits; zero after a clock jump or activation
    decision: Decision
    expected: Reason
    limits: Limits

    def axes(self) -> list[tuple[float, float, float, float]]:
        """Return per axis: before, after, and the allowed change when speeding up and slowing down."""
        pairs = zip(self.before.as_tuple(), self.decision.velocity.as_tuple(), strict=True)
        rates = zip(self.limits.max_accel, self.limits.max_decel, strict=True)
        return [(*v, accel * PERIOD, -decel * PERIOD) for v, (accel, decel) in zip(pairs, rates, strict=True)]


met: Counter[enum.Enum] = Counter()


class Drive(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        times = {"image_timeout": IMAGE_TIMEOUT, "command_timeout": COMMAND_TIMEOUT}
        self.governor, self.twin = (Governor(LIMITS, period=PERIOD, **times, may_move=True) for _ in range(2))
        self.oracle = Oracle(PERIOD, IMAGE_TIMEOUT, COMMAND_TIMEOUT)
        self.limits, self.before, self.now = LIMITS, ZERO, 1e4
        self.observations: list[tuple[ObservationKey, int]] = []
        self.calls: list[tuple[str, tuple, dict, Any]] = []
        self.ticks: list[Tick] = []
        self.start(TEXTS[0])

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        answer = getattr(self.governor, name)(*arguments, **options)
        self.calls.append((name, arguments, options, answer))
        return answer

    def act(self, velocity: Velocity, back: int = 0) -> None:
        """Pass an action on the newest image that counted, or `back` images before it."""
        if back < len(self.observations):
            key, image = self.observations[-1 - back]
            self.oracle.act(velocity, image)
            self.call("on_action", velocity, key)

    def tick(self, wait: float = PERIOD) -> None:
        self.now += wait
        self.oracle.observe(self.now)
        before = ZERO if self.oracle.generation() > self.oracle.latest("tick") else self.before
        self.oracle.log.append(("tick", self.oracle.time()))
        decision = self.call("tick", self.now)
        self.ticks.append(Tick(before, decision, self.oracle.reason(), self.limits))
        self.before = decision.velocity
        met[decision.reason] += 1

    # Events.

    @rule(age=ages)
    def see(self, age: float = 0.0) -> None:
        image, key = self.oracle.see(self.now - age, self.now), self.call("on_image", self.now - age, self.now)
        assert (key is None) == (image is None)
        if key is not None and image is not None:
            self.observations.append((key, image))

    @rule(velocity=velocities, ticks=st.integers(1, 8))
    def drive(self, velocity: Velocity, ticks: int) -> None:
        for _ in range(ticks):
            self.see()
            self.act(velocity)
            self.tick()

    @rule(text=st.sampled_from(TEXTS))
    def start(self, text: str) -> None:
        self.live("activate")
        self.enable(True)
        self.set_instruction(text)
        self.drive(Velocity(0.6, 0.1, -0.5), 8)

    @rule(velocity=velocities | broken_velocities, back=st.integers(0, 3), wait=waits)
    def action(self, velocity: Velocity, back: int, wait: float) -> None:
        self.act(velocity, back)
        self.tick(wait)

    @rule(wait=waits, times=st.sampled_from([1, 2, LONGEST]), sees=st.booleans())
    def time_passes(self, wait: float, times: int, sees: bool) -> None:
        for _ in range(times):
            if sees:
                self.see()
            self.tick(wait)

    @rule()
    def clock_stands(self) -> None:
        self.time_passes(0.0, LONGEST, True)

    @rule(text=st.sampled_from(["", " ", *TEXTS, f" {TEXTS[0]}\n"]), ticks=st.integers(0, 4))
    def set_instruction(self, text: str, ticks: int = 0) -> None:
        self.call("set_instruction", text)
        self.oracle.say(text.strip())
        self.oracle.log.append(("instruct", None))
        self.time_passes(PERIOD, ticks, True)

    @rule()
    def reject(self) -> None:
        self.call("reject_instruction", "why")
        self.oracle.say("")
        self.oracle.log.append(("refuse", None))
        self.tick()

    @rule(velocity=broken_velocities)
    def break_action(self, velocity: Velocity) -> None:
        self.see()
        self.act(velocity)
        self.tick()
        self.drive(Velocity(0.3, 0.0, 0.1), 4)

    @rule(ticks=st.integers(0, 8))
    def stop(self, ticks: int) -> None:
        self.call("stop", " halt ")
        self.oracle.say("")
        self.oracle.log.append(("stop", None))
        self.time_passes(PERIOD, ticks, True)

    @rule(back=st.integers(0, 3), ticks=st.integers(0, 2))
    def step_failed(self, back: int, ticks: int) -> None:
        if back < len(self.observations):
            key, image = self.observations[-1 - back]
            self.oracle.fail(image)
            self.call("on_step_failed", "why", key)
        self.time_passes(PERIOD, ticks, False)

    @rule(wait=st.sampled_from([0.0, 0.013, 0.3, 0.6, -0.05, -0.3]), times=st.sampled_from([1, 2, LONGEST]))
    def halt(self, wait: float, times: int) -> None:
        """Call `halt` between ticks: only its zero may affect them, however often it is called."""
        self.now += wait
        for _ in range(times):
            self.oracle.observe(self.now)
            expected, decision = self.oracle.reason(), self.call("halt", self.now)
            if expected in (Reason.MOVING, Reason.STOPPING, Reason.COMMAND_STALE):
                assert decision is None, (expected, decision)
            else:
                assert (decision.velocity, decision.reason) == (ZERO, expected), (expected, decision)
                self.before = ZERO

    @rule(enabled=st.booleans())
    def enable(self, enabled: bool) -> None:
        self.call("enable", enabled)
        self.oracle.log.append(("enable", enabled))

    @rule(name=st.sampled_from(["activate", "deactivate"]))
    def live(self, name: str) -> None:
        self.call(name)
        self.oracle.log.append((name, None))
        self.tick()

    @rule(
        limits=st.sampled_from([LIMITS, TIGHT]),
        image=st.sampled_from([0.2, 0.5, 5.0]),
        command=st.sampled_from([0.3, 0.4, 5.0]),
    )
    def update_limits(self, limits: Limits, image: float, command: float) -> None:
        self.call("update_limits", limits, image_timeout=image, command_timeout=command)
        self.limits, self.oracle.image_timeout, self.oracle.command_timeout = limits, image, command
        self.before = limits.clamp(self.before)

    # Invariants of every tick.

    @invariant()
    def it_moves_only_while_everything_is_well_and_stops_at_once_otherwise(self) -> None:
        for tick in self.ticks[-LONGEST:]:
            if tick.expected is not Reason.STOPPING:
                assert tick.decision.reason is tick.expected, tick
                assert tick.expected is Reason.MOVING or tick.decision.velocity == ZERO, tick
            elif tick.decision.velocity != ZERO:
                assert tick.decision.reason is Reason.STOPPING, tick
            else:
                assert tick.decision.reason in (Reason.STOP_PHRASE, Reason.NO_INSTRUCTION, Reason.NO_ACTION), tick

    @invariant()
    def no_command_is_above_a_limit_or_not_finite(self) -> None:
        for tick in self.ticks[-LONGEST:]:
            velocity, limits = tick.decision.velocity.as_tuple(), tick.limits
            bounds = zip(limits.min_velocity, velocity, limits.max_velocity, strict=True)
            assert all(lower <= value <= upper for lower, value, upper in bounds), tick

    @invariant()
    def accelerations_are_bounded_while_it_moves(self) -> None:
        for tick in self.ticks[-LONGEST:]:
            if tick.expected in (Reason.MOVING, Reason.STOPPING):
                for old, new, faster, slower in tick.axes():
                    slows = abs(new) < abs(old) or old * new < 0.0
                    assert abs(new - old) <= (slower if slows else faster) + 1e-12, tick

    @invariant()
    def slowing_down_never_speeds_up_turns_round_or_bends(self) -> None:
        for tick in self.ticks[-LONGEST:]:
            if tick.expected is Reason.STOPPING:
                assert all(0.0 <= new <= old or old <= new <= 0.0 for old, new, *_ in tick.axes()), tick
                shares = [new / old for old, new, *_ in tick.axes() if abs(old) > 1e-6]
                assert not shares or max(shares) - min(shares) < 1e-6, tick

    def teardown(self) -> None:
        """Check that the same events give the same results."""
        for name, arguments, options, answer in self.calls:
            assert getattr(self.twin, name)(*arguments, **options) == answer, name


@pytest.mark.hypothesis  # which marks by itself only what is decorated by `given`
def test_every_story_keeps_the_invariants_moves_often_and_meets_every_reason_to_stand():
    met.clear()
    run_state_machine_as_test(Drive, settings=STORIES)
    assert set(met) == set(Reason) - {Reason.UNTRAINED}  # it depends on no event
    assert met[Reason.MOVING] > met.total() / 8
