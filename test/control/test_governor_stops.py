"""Stopping distances and times of the Governor, which users rely on when they set limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from examples import scale_examples
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_clip_lstm_ros.control.governor import Governor
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity

many = settings(deadline=None, max_examples=scale_examples(100), derandomize=True)

speeds = st.floats(0.0, 2.0)
accelerations = st.floats(0.2, 20.0)
timeouts = st.floats(0.2, 1.0)
limits = st.builds(
    Limits,
    st.tuples(speeds, speeds, speeds),
    st.tuples(speeds, speeds, speeds).map(lambda three: tuple(-v for v in three)),
    st.tuples(accelerations, accelerations, accelerations),
    st.tuples(accelerations, accelerations, accelerations).map(lambda three: tuple(-v for v in three)),
)
actions = st.builds(Velocity, *[st.sampled_from([0.0, 0.1, 5.0, -5.0]) | st.floats(-2.0, 2.0)] * 3)


class Robot:
    """Robot at its commanded speed; its images are `lag` old at arrival, shortly after a tick."""

    def __init__(self, limits: Limits, action: Velocity, period: float, timeouts: tuple[float, float], lag: float):
        image_timeout, command_timeout = timeouts
        times = {"period": period, "image_timeout": image_timeout, "command_timeout": command_timeout}
        self.governor = Governor(limits, **times, may_move=True)
        self.governor.activate()
        self.governor.set_instruction("go on")
        self.lag = min(lag, min(timeouts) - 1.5 * period)  # otherwise it never moves
        self.action, self.period, self.now, self.velocity = action, period, 50.0, ZERO
        for _ in range(100):
            self.see(action)
            self.tick()

    def see(self, action: Velocity | None = None) -> None:
        self.stamp = self.now - self.lag
        key = self.governor.on_image(self.stamp, self.now)
        assert key is not None
        if action is not None:
            self.governor.on_action(action, key)

    def tick(self, runs: float = 1.0) -> None:
        self.now += runs * self.period
        self.velocity = self.governor.tick(self.now).velocity

    def travel(self, seconds: float, meanwhile: Callable[[], object], runs: float = 1.0) -> tuple[float, ...]:
        """Return the distance of each axis within `seconds` and a period; check that it then stands."""
        distances = [0.0, 0.0, 0.0]
        for _ in range(math.floor(seconds / self.period + 1.0 + 1e-6)):
            meanwhile()
            self.tick(runs)
            distances = [
                sum_ + abs(v) * self.period for sum_, v in zip(distances, self.velocity.as_tuple(), strict=True)
            ]
        assert self.velocity == ZERO
        return tuple(distances)


robots = st.builds(
    Robot, limits, actions, st.sampled_from([0.01, 0.05, 0.1]), st.tuples(timeouts, timeouts), st.floats(0.0, 0.3)
)


def is_within(distances: tuple[float, ...], robot: Robot, seconds: float) -> bool:
    limits = robot.governor.limits
    fastest = [max(upper, -lower) for upper, lower in zip(limits.max_velocity, limits.min_velocity, strict=True)]
    return all(distance <= v * (seconds + robot.period) + 1e-9 for distance, v in zip(distances, fastest, strict=True))


@many
@given(robots)
def test_without_images_it_goes_no_further_than_image_timeout_and_a_period_take_it(robot):
    seconds = robot.governor.image_timeout
    assert is_within(robot.travel(seconds, lambda: None), robot, min(seconds, robot.governor.command_timeout))


@many
@given(robots)
def test_without_actions_it_goes_no_further_than_command_timeout_and_a_period_take_it(robot):
    seconds = robot.governor.command_timeout
    assert is_within(robot.travel(seconds, robot.see), robot, seconds)


@many
@given(robots, actions)
def test_by_a_clock_that_stands_still_it_goes_no_further_than_either_timeout_and_a_period_take_it(robot, action):
    seconds = min(robot.governor.image_timeout, robot.governor.command_timeout)
    assert is_within(robot.travel(seconds, lambda: robot.see(action), runs=0.0), robot, seconds)


@many
@given(robots, st.sampled_from(["", "turn round"]))
def test_by_its_word_it_stops_within_max_decel_and_a_period(robot, text):
    limits, velocity = robot.governor.limits, robot.velocity.as_tuple()
    robot.governor.set_instruction(text)
    # The slowest axis determines the duration of all, to keep the curvature.
    seconds = max(abs(v / decel) for v, decel in zip(velocity, limits.max_decel, strict=True))
    distances = robot.travel(seconds, robot.see)
    assert all(s <= abs(v) * (seconds / 2.0 + robot.period) + 1e-9 for s, v in zip(distances, velocity, strict=True))


@pytest.mark.parametrize("text", ["", "turn round"])
def test_on_one_axis_that_is_the_textbook_s_distance(text):
    robot = Robot(Limits(), Velocity(0.3, 0.0, 0.0), 0.05, (0.5, 0.5), 0.1)
    robot.governor.set_instruction(text)
    distance, *others = robot.travel(0.3 / 1.5, robot.see)
    assert 0.0 < distance <= 0.3**2 / (2 * 1.5) + 0.3 * 0.05
    assert others == [0.0, 0.0]


@many
@given(robots)
def test_these_robots_move(robot):
    """Check the premise of the tests above."""
    assert (robot.velocity == ZERO) == (robot.governor.limits.clamp(robot.action) == ZERO)
