"""The Governor, case by case: every reason to stand still, and the ramps and resets between them."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.control.governor import Governor, Reason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.errors import ConfigError

ROOT = Path(__file__).parents[2]
PERIOD = 0.05
TIMES = {"period": PERIOD, "image_timeout": 0.5, "command_timeout": 0.6}
TEXT = "go to the door"
SLOW = Velocity(0.01, 0.0, 0.02)  # reached within one tick
FAST = Velocity(0.3, 0.0, -0.4)


def new(limits: Limits | None = None, *, may_move: bool = True) -> Governor:
    governor = Governor(limits or Limits(), **TIMES, may_move=may_move)
    governor.activate()
    return governor


def feed(governor: Governor, velocity: Velocity, now: float) -> None:
    """Pass an image of `now` and its action to the governor."""
    key = governor.on_image(now, now)
    assert key is not None
    governor.on_action(velocity, key)


def fail(governor: Governor, why: str, now: float) -> None:
    """Pass an image of `now` and its failed step to the governor."""
    key = governor.on_image(now, now)
    assert key is not None
    governor.on_step_failed(why, key)


def moving(velocity: Velocity = FAST, ticks: int = 10, **options) -> tuple[Governor, float]:
    """Return a governor that has reached `velocity`, and the time of the last tick."""
    governor, now = new(**options), 100.0
    governor.set_instruction(TEXT)
    for _ in range(ticks):
        now += PERIOD
        feed(governor, velocity, now)
        decision = governor.tick(now)
    assert decision == Decision(velocity, Reason.MOVING)
    return governor, now


def test_it_follows_the_instruction_when_all_is_well():
    moving()


def test_it_speeds_up_within_max_accel():
    governor = new()
    governor.set_instruction(TEXT)
    feed(governor, Velocity(0.3, 0.0, 0.0), 1.0)
    assert [round(governor.tick(1.0 + i * PERIOD).velocity.linear_x, 9) for i in range(7)] == [
        *(0.05, 0.10, 0.15, 0.20, 0.25, 0.30),
        0.30,
    ]


# Events that stop a moving robot, by reason: the event, and the time from the last tick to the check.
STOPS: dict[Reason, tuple[Callable[[Governor, float], object], float]] = {
    Reason.INACTIVE: (lambda g, now: g.deactivate(), PERIOD),
    Reason.DISABLED: (lambda g, now: g.enable(False), PERIOD),
    Reason.STEP_ERROR: (lambda g, now: fail(g, "out of memory", now), PERIOD),
    Reason.NON_FINITE: (lambda g, now: feed(g, Velocity(0.1, 0.0, math.nan), now), PERIOD),
    Reason.INSTRUCTION_REFUSED: (lambda g, now: g.reject_instruction("it contains a NUL character"), PERIOD),
    Reason.CLOCK_STOPPED: (lambda g, now: [g.tick(now) for _ in range(9)], 0.0),
    Reason.NO_IMAGE: (lambda g, now: g.activate(), PERIOD),
    Reason.IMAGE_STALE: (lambda g, now: None, 0.51),
    Reason.COMMAND_STALE: (lambda g, now: g.on_image(now + 0.3, now + 0.3), 0.61),
}


@pytest.mark.parametrize("reason", STOPS, ids=lambda reason: reason.name)
def test_it_stops_at_once_on_the_same_tick(reason):
    governor, now = moving()
    what_happens, later = STOPS[reason]
    what_happens(governor, now)
    decision = governor.tick(now + later)
    assert (decision.velocity, decision.reason) == (ZERO, reason)


@pytest.mark.parametrize("reason", [Reason.IMAGE_STALE, Reason.COMMAND_STALE], ids=lambda reason: reason.name)
def test_data_is_not_stale_before_its_timeout(reason):
    governor, now = moving()
    what_happens, later = STOPS[reason]
    what_happens(governor, now)
    assert governor.tick(now + later - 0.02).reason is Reason.MOVING


def test_untrained_weights_do_not_move_unless_allowed():
    governor = new(may_move=False)
    governor.set_instruction(TEXT)
    for i in range(10):
        feed(governor, FAST, 1.0 + i * PERIOD)
        assert governor.tick(1.0 + i * PERIOD) == Decision(ZERO, Reason.UNTRAINED)


def scenario(reason: Reason) -> Decision:
    """Return a decision with this reason."""
    if reason in STOPS:
        governor, now = moving()
        what_happens, later = STOPS[reason]
        what_happens(governor, now)
        return governor.tick(now + later)
    if reason in (Reason.MOVING, Reason.STOPPING):
        governor, now = moving()
        governor.set_instruction(TEXT if reason is Reason.MOVING else "")
        return governor.tick(now)
    governor = new(may_move=reason is not Reason.UNTRAINED)
    governor.on_image(1.0, 1.0)
    governor.set_instruction("" if reason is Reason.NO_INSTRUCTION else TEXT)
    if reason is Reason.STOP_PHRASE:
        governor.stop("halt!")
    return governor.tick(1.0)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_each_reason_is_given_with_its_sentence(reason):
    decision = scenario(reason)
    assert decision.reason is reason
    assert str(decision).startswith(f"{reason.name}: {reason.value}")
    assert "\n" not in str(decision)


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        (Reason.STEP_ERROR, "out of memory"),
        (Reason.INSTRUCTION_REFUSED, "it contains a NUL character"),
        (Reason.STOP_PHRASE, "halt!"),
        (Reason.IMAGE_STALE, "over 0.5 s"),
        (Reason.COMMAND_STALE, "over 0.6 s"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_sentence_is_completed_by_what_happened(reason, detail):
    assert str(scenario(reason)) == f"{reason.name}: {reason.value} ({detail})"


def test_disabled_survives_activation_a_new_instruction_and_fresh_data():
    governor, now = moving()
    governor.enable(False)
    governor.deactivate()
    governor.activate()
    governor.set_instruction("another one")
    feed(governor, FAST, now)
    assert governor.tick(now) == Decision(ZERO, Reason.DISABLED)
    governor.enable(True)
    assert governor.tick(now).reason is Reason.MOVING


def test_after_every_stop_it_starts_again_from_rest():
    governor, now = moving()
    governor.enable(False)
    governor.tick(now)
    governor.enable(True)
    assert governor.tick(now).velocity == Limits().ramp(ZERO, FAST, PERIOD) != FAST


def test_activation_forgets_the_instruction_the_image_the_action_and_the_speed():
    governor, now = moving()
    governor.activate()
    assert governor.instruction == ""
    assert governor.tick(now).reason is Reason.NO_IMAGE
    governor.on_image(now, now)
    assert governor.tick(now) == Decision(ZERO, Reason.NO_INSTRUCTION)
    governor.set_instruction(TEXT)
    assert governor.tick(now) == Decision(ZERO, Reason.NO_ACTION)


def ticks_to_zero(governor: Governor, now: float) -> list[Decision]:
    decisions = [governor.tick(now)]
    while not decisions[-1].velocity.is_zero and len(decisions) < 100:
        now += PERIOD
        governor.on_image(now, now)
        decisions.append(governor.tick(now))
    return decisions


def test_a_stop_phrase_ramps_down_like_a_cleared_instruction_and_says_so():
    governor, now = moving()
    governor.stop(" please halt\n")
    decisions = ticks_to_zero(governor, now)
    assert [d.reason for d in decisions] == [Reason.STOPPING] * (len(decisions) - 1) + [Reason.STOP_PHRASE]
    assert decisions[-1].detail == "please halt" and governor.instruction == ""
    governor.on_image(now + 10.0, now + 10.0)
    governor.set_instruction("")
    assert governor.tick(now + 10.0).reason is Reason.NO_INSTRUCTION


@pytest.mark.parametrize("blank", ["", "  \n"])
def test_a_cleared_instruction_ramps_down_within_max_decel_and_keeps_the_curvature(blank):
    governor, now = moving()
    governor.set_instruction(blank)
    decisions = ticks_to_zero(governor, now)
    assert [d.reason for d in decisions] == [Reason.STOPPING] * (len(decisions) - 1) + [Reason.NO_INSTRUCTION]
    speeds = [FAST.linear_x, *(d.velocity.linear_x for d in decisions)]
    assert all(0.0 < a - b <= 1.5 * PERIOD + 1e-12 for a, b in pairwise(speeds))
    ratios = [d.velocity.angular_z / d.velocity.linear_x for d in decisions[:-1]]
    assert ratios == pytest.approx([FAST.angular_z / FAST.linear_x] * len(ratios))


@pytest.mark.parametrize("velocity", [FAST, SLOW, Velocity(0.0, -0.3, 0.0), Velocity(-0.25, 0.13, 0.8)])
def test_a_cleared_instruction_reaches_zero_within_speed_over_deceleration_plus_one_period(velocity):
    governor, now = moving(velocity, ticks=20)
    governor.set_instruction("")
    slowest = max(abs(v / decel) for v, decel in zip(velocity.as_tuple(), Limits().max_decel, strict=True))
    assert len(ticks_to_zero(governor, now)) * PERIOD <= slowest + PERIOD + 1e-9


def test_a_replaced_instruction_ramps_down_and_waits_for_its_first_action():
    governor, now = moving()
    governor.set_instruction("turn around")
    assert governor.tick(now).reason is Reason.STOPPING
    assert [d.reason for d in ticks_to_zero(governor, now + PERIOD)][-1] is Reason.NO_ACTION
    feed(governor, FAST, now + 1.0)
    assert governor.tick(now + 1.0).reason is Reason.MOVING


def test_an_equal_instruction_keeps_the_action():
    governor, now = moving()
    governor.set_instruction(f" {TEXT}\n")
    assert governor.instruction == TEXT
    assert governor.tick(now).reason is Reason.MOVING


def test_a_new_instruction_lifts_a_refusal():
    governor, now = moving()
    governor.reject_instruction("why")
    assert governor.instruction == ""
    governor.set_instruction(TEXT)
    feed(governor, FAST, now)
    assert governor.tick(now).reason is Reason.MOVING


def test_a_step_that_succeeds_lifts_a_failure_and_an_equal_instruction_does_not():
    governor, now = moving()
    fail(governor, "why", now)
    governor.set_instruction(TEXT)
    assert governor.tick(now).reason is Reason.STEP_ERROR
    feed(governor, FAST, now)
    assert governor.tick(now).reason is Reason.MOVING


def test_a_deadband_zeroes_what_is_commanded_and_does_not_hold_up_the_ramp():
    limits = Limits(max_accel=(0.2, 0.2, 0.2), deadband_velocity=(0.05, 0.0, 0.0))
    governor = new(limits)
    governor.set_instruction(TEXT)
    feed(governor, Velocity(0.3, 0.0, 0.0), 1.0)
    speeds = [governor.tick(1.0 + i * PERIOD).velocity.linear_x for i in range(7)]
    assert speeds == pytest.approx([0.0, 0.0, 0.0, 0.0, 0.05, 0.06, 0.07])


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("junk", [0.0, -0.1, math.nan, math.inf])
def test_a_time_that_is_not_positive_and_finite_is_refused_by_name(name, junk):
    with pytest.raises(ConfigError, match=f"^{name} .*positive"):
        Governor(Limits(), **{**TIMES, name: junk}, may_move=True)


def test_control_needs_neither_ros_nor_torch():
    modules = ", ".join(f"simple_clip_lstm_ros.control.{name}" for name in ("governor", "guard", "timing"))
    code = f"import sys, {modules}; print({{'torch', 'rclpy', 'numpy'}} & set(sys.modules))"
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "set()"
