"""Velocity in REP-103 axes, and the axis names of outputs."""

from __future__ import annotations

import math

import pytest

from simple_clip_lstm_ros.control.velocity import AXES, ZERO, Velocity


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (("linear.x", "angular.z"), (1.0, 0.0, 2.0)),
        (("angular.z", "linear.x"), (2.0, 0.0, 1.0)),
        (("linear.y", "linear.x"), (2.0, 1.0, 0.0)),
    ],
)
def test_from_axes_puts_each_value_on_the_axis_named_and_zero_elsewhere(axes, expected):
    assert Velocity.from_axes((1.0, 2.0), axes).as_tuple() == expected


def test_from_axes_takes_all_three_axes_in_the_order_of_as_tuple():
    assert Velocity.from_axes((1.0, 2.0, 3.0), AXES).as_tuple() == (1.0, 2.0, 3.0)


def test_from_axes_gives_floats():
    assert all(type(value) is float for value in Velocity.from_axes((1, 2), ("linear.x", "angular.z")).as_tuple())


def test_from_axes_refuses_more_values_than_axes():
    with pytest.raises(ValueError):
        Velocity.from_axes((1.0, 2.0, 3.0), ("linear.x", "angular.z"))


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("axis", range(3))
def test_one_value_that_is_not_finite_makes_the_velocity_not_finite(junk, axis):
    values = [0.1, 0.2, 0.3]
    assert Velocity(*values).is_finite
    values[axis] = junk
    assert not Velocity(*values).is_finite


def test_zero_is_zero_on_every_axis():
    assert ZERO.is_zero and Velocity(-0.0, 0.0, -0.0).is_zero
    assert not any(Velocity(**{axis: 1e-9}).is_zero for axis in ("linear_x", "linear_y", "angular_z"))


@pytest.mark.parametrize(
    ("now", "target", "expected"),
    [
        ((0.3, 0.2, -0.8), (0.1, 0.2, -0.5), (0.1, 0.2, -0.5)),  # slower
        ((0.1, 0.0, -0.2), (0.3, 0.2, -0.5), (0.1, 0.0, -0.2)),  # not faster at once
        ((0.3, -0.2, 0.8), (-0.1, 0.2, 0.0), (0.0, 0.0, 0.0)),  # a change of sign stops first
        ((0.3, -0.2, 0.1), (0.1, -0.3, 0.2), (0.1, -0.2, 0.1)),  # each axis on its own
    ],
)
def test_decelerated_toward_is_at_once_as_slow_as_the_target_and_no_faster_than_before(now, target, expected):
    assert Velocity(*now).decelerated_toward(Velocity(*target)).as_tuple() == expected


def test_decelerated_toward_zero_is_zero():
    assert Velocity(0.3, -0.2, 0.8).decelerated_toward(ZERO) == ZERO
