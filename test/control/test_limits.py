"""Limits: nothing above a limit, nothing faster than an acceleration, and the curvature kept."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
from examples import scale_examples
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from simple_clip_lstm_ros.control.limits import SIGN_RULES, Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.errors import ConfigError

PERIOD = 0.05
thorough = settings(deadline=None, max_examples=scale_examples(200), derandomize=True)

finite = st.floats(allow_nan=False, allow_infinity=False)
# A third of the actions is within the limits, the rest anywhere, including denormal and huge numbers.
actions = st.builds(Velocity, *[st.one_of(st.floats(-1.0, 1.0), finite, st.sampled_from([0.0, -0.0, 0.3, 1e308]))] * 3)
slow, fast = st.floats(0.0, 0.1), st.floats(0.1, 10.0)


def triple(values):
    return st.tuples(values, values, values)


def negative(values):
    return values.map(lambda three: tuple(-value for value in three))


# Asymmetric on purpose, to detect a confusion of signs or axes.
limits = st.builds(
    Limits,
    max_velocity=triple(slow | fast),
    min_velocity=negative(triple(slow | fast)),
    max_accel=triple(st.floats(0.01, 10.0)),
    max_decel=negative(triple(st.floats(0.01, 10.0))),
)


def is_within(velocity: Velocity, limits: Limits) -> bool:
    bounds = zip(limits.min_velocity, velocity.as_tuple(), limits.max_velocity, strict=True)
    return all(lower <= value <= upper for lower, value, upper in bounds)


def is_parallel(a: Velocity, b: Velocity) -> bool:
    """Return whether b is a times one factor from 0 to 1."""
    leading = max(range(3), key=lambda axis: abs(a.as_tuple()[axis]))
    whole = a.as_tuple()[leading]
    factor = b.as_tuple()[leading] / whole if whole else 0.0
    pairs = zip(a.as_tuple(), b.as_tuple(), strict=True)
    return 0.0 <= factor <= 1.0 and all(math.isclose(x * factor, y, rel_tol=1e-9, abs_tol=1e-12) for x, y in pairs)


@thorough
@given(limits, actions)
@example(Limits(), Velocity(0.3 * (1 + 1e-15), 1e-320, -1e308))
def test_no_action_is_clamped_to_more_than_a_limit(limits, action):
    clamped = limits.clamp(action)
    assert clamped.is_finite
    assert is_within(clamped, limits)


def without_locked_axes(velocity: Velocity, limits: Limits) -> Velocity:
    """Set each axis to zero whose limit in that direction is zero."""
    bounds = zip(velocity.as_tuple(), limits.max_velocity, limits.min_velocity, strict=True)
    return Velocity(*(0.0 if (upper if value > 0.0 else lower) == 0.0 else value for value, upper, lower in bounds))


@thorough
@given(limits, actions)
@example(Limits(max_velocity=(0.3, 0.0, 0.8)), Velocity(0.3, 1e-9, 0.2))
@example(Limits(max_velocity=(0.0, 0.0, 0.0)), Velocity(0.2, -0.6, -0.1))
def test_clamping_keeps_the_curvature_of_the_axes_that_the_robot_has(limits, action):
    had = without_locked_axes(action, limits)
    assert is_parallel(had, limits.clamp(action))
    assert limits.clamp(action) == limits.clamp(had)


@thorough
@given(limits, actions)
def test_an_action_within_the_limits_stays_as_it_is(limits, action):
    clamped = limits.clamp(action)
    assert limits.clamp(clamped) == clamped
    if is_within(action, limits):
        assert clamped == action


def test_the_axis_furthest_over_its_limit_decides_the_scale():
    assert Limits().clamp(Velocity(0.6, 0.0, 0.8)).as_tuple() == (0.3, 0.0, 0.4)
    assert Limits().clamp(Velocity(0.3, 0.0, -1.6)).as_tuple() == (0.15, 0.0, -0.8)


def test_forward_and_backward_have_limits_of_their_own():
    limits = Limits(max_velocity=(0.5, 0.5, 0.5), min_velocity=(-0.1, -0.2, -0.3))
    assert limits.clamp(Velocity(9.0, 0.0, 0.0)).linear_x == 0.5
    assert [limits.clamp(Velocity(*axis)).as_tuple() for axis in ((-9, 0, 0), (0, -9, 0), (0, 0, -9))] == [
        (-0.1, 0.0, 0.0),
        (0.0, -0.2, 0.0),
        (0.0, 0.0, -0.3),
    ]


@thorough
@given(limits, actions, actions)
def test_no_axis_changes_faster_than_its_acceleration(limits, current, action):
    now, goal = limits.clamp(current), limits.clamp(action)
    after = limits.ramp(now, goal, PERIOD)
    axes = zip(now.as_tuple(), goal.as_tuple(), after.as_tuple(), limits.max_accel, limits.max_decel, strict=True)
    for v, target, reached, accel, decel in axes:
        slowing = abs(target) < abs(v) or v * target < 0
        assert abs(reached - v) <= (-decel if slowing else accel) * PERIOD + 1e-12


@thorough
@given(limits, actions, actions)
def test_a_ramp_between_allowed_velocities_stays_within_the_limits(limits, current, action):
    after = limits.ramp(limits.clamp(current), limits.clamp(action), PERIOD)
    assert after.is_finite
    assert is_within(after, limits)


@thorough
@given(limits, actions, actions)
def test_decelerated_toward_a_target_the_ramp_to_it_only_speeds_up(limits, current, action):
    """Check `decelerated_toward` with `ramp`: together they limit speeding up alone."""
    goal = limits.clamp(action)
    slowed = limits.clamp(current).decelerated_toward(goal)
    after = limits.ramp(slowed, goal, PERIOD)
    for least, reached, most in zip(slowed.as_tuple(), after.as_tuple(), goal.as_tuple(), strict=True):
        assert 0.0 <= least <= reached <= most or most <= reached <= least <= 0.0


@thorough
@given(limits, actions)
def test_a_ramp_to_zero_keeps_the_curvature(limits, action):
    now = limits.clamp(action)
    assert is_parallel(now, limits.ramp(now, ZERO, PERIOD))


@thorough
@given(limits, actions, actions)
def test_a_ramp_arrives_exactly_and_no_later_than_its_slowest_axis(limits, current, action):
    now, goal = limits.clamp(current), limits.clamp(action)
    slowest = min(*limits.max_accel, *(-decel for decel in limits.max_decel))
    furthest = max(abs(a - b) for a, b in zip(now.as_tuple(), goal.as_tuple(), strict=True))
    ticks = math.ceil(furthest / (slowest * PERIOD)) + 1
    assume(ticks < 1000)
    for _ in range(ticks):
        now = limits.ramp(now, goal, PERIOD)
    assert now == goal


def test_speeding_up_takes_max_accel_and_slowing_down_takes_max_decel():
    limits = Limits(max_accel=(1.0, 1.0, 2.0), max_decel=(-2.0, -2.0, -4.0))
    half, full = Velocity(0.1, 0.0, 0.0), Velocity(0.3, 0.0, 0.0)
    assert limits.ramp(half, full, 0.1).linear_x == pytest.approx(0.2)
    assert limits.ramp(full, half, 0.05).linear_x == pytest.approx(0.2)
    assert limits.ramp(full, Velocity(-0.3, 0.0, 0.0), 0.05).linear_x == pytest.approx(0.2)


def test_a_deadband_zeroes_only_the_axis_below_it():
    limits = Limits(deadband_velocity=(0.05, 0.05, 0.1))
    assert limits.apply_deadband(Velocity(0.04, -0.04, 0.2)).as_tuple() == (0.0, 0.0, 0.2)
    assert limits.apply_deadband(Velocity(-0.05, 0.06, -0.1)).as_tuple() == (-0.05, 0.06, -0.1)


WRONG = [
    ("max_velocity", (-0.1, 0.3, 0.8), "zero or positive"),
    ("min_velocity", (-0.3, 0.1, -0.8), "zero or negative"),
    ("max_accel", (1.0, 1.0, 0.0), "positive"),
    ("max_decel", (-1.5, 0.0, -3.0), "negative"),
    ("max_decel", (1.5, 1.5, 3.0), "negative"),
    ("deadband_velocity", (0.0, 0.0, -0.1), "zero or positive"),
]
NAMES = sorted({name for name, *_ in WRONG})


def test_every_limit_says_what_it_allows_and_has_a_wrong_sign_here():
    assert list(SIGN_RULES) == [field.name for field in fields(Limits)]
    assert {name: SIGN_RULES[name].words for name in SIGN_RULES} == {name: words for name, _, words in WRONG}


@pytest.mark.parametrize(("name", "values", "words"), WRONG)
def test_a_limit_of_the_wrong_sign_is_refused_by_name(name, values, words):
    with pytest.raises(ConfigError, match=f"^{name} .*finite.*{words}"):
        Limits(**{name: values})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
def test_a_limit_that_is_not_finite_is_refused(name, junk):
    good = getattr(Limits(), name)
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: (good[0], junk, good[2])})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_limit_without_three_values_is_refused(name, count):
    with pytest.raises(ConfigError, match=f"^{name} .*linear.x, linear.y, angular.z.*{count}"):
        Limits(**{name: [0.0] * count})


@pytest.mark.parametrize(
    ("asked", "clamped"),
    [
        ((0.2, 0.0, 0.1), (0.2, 0.0, 0.1)),
        ((0.3, 1e-9, 0.2), (0.3, 0.0, 0.2)),
        ((-0.3, -9.0, 0.2), (-0.3, 0.0, 0.2)),
        ((0.6, 9.0, -0.8), (0.3, 0.0, -0.4)),
    ],
)
def test_zero_is_a_velocity_limit_that_locks_an_axis_and_holds_up_no_other(asked, clamped):
    limits = Limits(max_velocity=(0.3, 0.0, 0.8), min_velocity=(-0.3, 0.0, -0.8))
    assert limits.clamp(Velocity(*asked)) == Velocity(*clamped)


def test_an_axis_may_be_locked_in_one_direction_only():
    limits = Limits(min_velocity=(0.0, -0.3, -0.8))
    assert limits.clamp(Velocity(-0.2, 0.0, 0.4)) == Velocity(0.0, 0.0, 0.4)
    assert limits.clamp(Velocity(0.6, 0.0, 0.4)) == Velocity(0.3, 0.0, 0.2)
