"""The base: kinematics, limits, latency, slip, timeout."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.sim.layout import BaseDynamics, Pose
from simple_clip_lstm_ros.sim.mobile_base import DIFFERENTIAL, OMNIDIRECTIONAL, TIMEOUT, MobileBase

IDEAL = BaseDynamics(latency=0.0, slip=(0.0, 0.0))
ORIGIN = Pose(0.0, 0.0, 0.0)


def advance(base: MobileBase, seconds: float) -> None:
    for _ in range(round(seconds / 0.02)):
        base.advance(0.02)


def drive(base: MobileBase, velocity: Velocity, seconds: float) -> MobileBase:
    for _ in range(round(seconds / 0.1)):
        base.command(velocity)
        advance(base, 0.1)
    return base


def test_it_drives_an_arc() -> None:
    """A full circle of radius v / w ends where it began; the ramps at the beginning are let pass first."""
    base = drive(MobileBase(ORIGIN, IDEAL), Velocity(0.4, 0.0, 0.8), 1.0)
    begin = base.pose
    end = drive(base, Velocity(0.4, 0.0, 0.8), math.tau / 0.8).pose
    assert math.hypot(end.x - begin.x, end.y - begin.y) < 0.03
    half = drive(base, Velocity(0.4, 0.0, 0.8), math.pi / 0.8).pose
    assert math.hypot(half.x - end.x, half.y - end.y) == pytest.approx(2 * 0.4 / 0.8, abs=0.03)


def test_positive_is_forward_left_and_counter_clockwise() -> None:
    base = drive(MobileBase(ORIGIN, IDEAL, OMNIDIRECTIONAL), Velocity(0.0, 0.3, 0.0), 1.0)
    assert base.pose.y > 0.2 and abs(base.pose.x) < 1e-9
    assert drive(MobileBase(ORIGIN, IDEAL), Velocity(0.0, 0.0, 0.5), 1.0).pose.yaw > 0.3
    turned = drive(MobileBase(Pose(0.0, 0.0, math.pi / 2), IDEAL), Velocity(0.3), 1.0)
    assert turned.pose.y > 0.2 and abs(turned.pose.x) < 1e-9


def test_a_differential_base_does_not_move_sideways() -> None:
    base = drive(MobileBase(ORIGIN, IDEAL, DIFFERENTIAL), Velocity(0.2, 0.5, 0.0), 1.0)
    assert base.pose.y == 0.0 and base.pose.x > 0.1


@given(
    st.lists(st.tuples(*[st.floats(-3.0, 3.0)] * 3), min_size=1, max_size=8),
    st.sampled_from((DIFFERENTIAL, OMNIDIRECTIONAL)),
)
def test_no_command_makes_it_exceed_its_limits(commands, limits) -> None:
    base = MobileBase(ORIGIN, IDEAL, limits)
    for command in commands:
        base.command(Velocity(*command))
        before = base.velocity
        advance(base, 0.1)
        for speed, was, upper, accel, decel in zip(
            base.velocity.as_tuple(), before.as_tuple(), limits.max_velocity, limits.max_accel, limits.max_decel,
            strict=True,
        ):  # fmt: skip
            assert abs(speed) <= upper + 1e-9
            assert abs(speed - was) <= max(accel, -decel) * 0.1 + 1e-9


def test_a_command_takes_effect_after_the_latency() -> None:
    base = MobileBase(ORIGIN, BaseDynamics(latency=0.3, slip=(0.0, 0.0)))
    base.command(Velocity(0.5))
    advance(base, 0.28)
    assert base.velocity == ZERO
    advance(base, 0.1)
    assert base.velocity.linear_x > 0.0


def test_it_stops_by_itself_when_no_command_comes() -> None:
    base = MobileBase(ORIGIN, IDEAL)
    base.command(Velocity(0.5))
    advance(base, TIMEOUT)
    assert base.velocity.linear_x > 0.4
    advance(base, 0.5 / 1.5 + 0.1)
    assert base.velocity == ZERO


def test_slip_loses_a_share_of_the_way() -> None:
    whole = drive(MobileBase(ORIGIN, IDEAL), Velocity(0.5, 0.0, 0.0), 2.0).pose
    less = drive(MobileBase(ORIGIN, BaseDynamics(0.0, (0.2, 0.0))), Velocity(0.5, 0.0, 0.0), 2.0).pose
    assert less.x == pytest.approx(0.8 * whole.x)
    whole = drive(MobileBase(ORIGIN, IDEAL), Velocity(0.0, 0.0, 0.5), 2.0).pose
    less = drive(MobileBase(ORIGIN, BaseDynamics(0.0, (0.0, 0.1))), Velocity(0.0, 0.0, 0.5), 2.0).pose
    assert less.yaw == pytest.approx(0.9 * whole.yaw)
