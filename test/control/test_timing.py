"""Timing and report of a drive: quantiles, rates and worst steps in bounded memory, and as text."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_clip_lstm_ros.control.governor import Governor
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.timing import DriveTiming, LogHistogram, StepTiming, drive_report, format_report
from simple_clip_lstm_ros.control.velocity import Velocity

RATE, PERIOD = 20.0, 0.05
DISTRIBUTIONS = {
    "one value": lambda draw, n: np.full(n, 0.3),
    "even": lambda draw, n: draw.uniform(1e-3, 1.0, n),
    "a long tail": lambda draw, n: draw.lognormal(-2.0, 1.5, n),
    "two humps": lambda draw, n: np.where(draw.random(n) < 0.95, draw.normal(0.1, 0.002, n), draw.normal(2.0, 0.1, n)),
}


def histogram_of(values) -> LogHistogram:
    spread = LogHistogram()
    for value in values:
        spread.add(float(value))
    return spread


@pytest.mark.parametrize("count", [1, 2, 10, 999, 20_000])
@pytest.mark.parametrize("shape", DISTRIBUTIONS)
def test_quantiles_are_numpy_s_to_a_little_over_one_per_cent(shape, count):
    values = DISTRIBUTIONS[shape](np.random.default_rng(count), count)
    spread = histogram_of(values)
    for share in (0.01, 0.25, 0.5, 0.9, 0.99, 1.0):
        exact = np.quantile(values, share, method="inverted_cdf")
        assert spread.quantile(share) == pytest.approx(exact, rel=0.0101)
    assert spread.summary()["max"] == round(values.max(), 6)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1))
def test_quantiles_grow_with_their_share_and_never_exceed_the_largest(values):
    spread = histogram_of(values)
    quantiles = [spread.quantile(share) for share in (0.0, 0.1, 0.5, 0.9, 1.0)]
    assert quantiles == sorted(quantiles)
    assert min(values) * 0.989 <= quantiles[0] and quantiles[-1] <= max(values)


def test_of_nothing_and_of_zeros_the_quantiles_are_zero():
    assert LogHistogram().summary() == {"p50": 0.0, "p90": 0.0, "p99": 0.0, "max": 0.0}
    # An image slightly ahead of the robot's clock has a negative age.
    assert histogram_of([0.0, -0.05]).summary() == {"p50": 0.0, "p90": 0.0, "p99": 0.0, "max": 0.0}


def long_drive(steps: int) -> DriveTiming:
    draw, timing = np.random.default_rng(0), DriveTiming(RATE, 0.0)
    for i, (latency, jitter) in enumerate(draw.lognormal(-2.0, 1.0, (steps, 2))):
        timing.on_image(0.004 * jitter)
        timing.on_command(i * PERIOD + 0.01 * jitter)
        timing.on_step(StepTiming(latency, latency + 0.01, i * PERIOD, 0.01 * latency), i * PERIOD)
    return timing


def test_memory_does_not_depend_on_the_length_of_the_drive():
    # A few hundred bins are filled within minutes; a day adds only larger counts.
    hour, day = (len(pickle.dumps(long_drive(steps))) for steps in (5_000, 100_000))
    assert hour < 20_000 and day < 20_000


def test_the_worst_steps_are_the_five_slowest_the_slowest_first():
    draw, timing = np.random.default_rng(1), DriveTiming(RATE, 0.0)
    steps = [
        StepTiming(latency, latency + 0.02, float(i), 0.001) for i, latency in enumerate(draw.random(300).tolist())
    ]
    for step in steps:
        timing.on_step(step, step.stamp)
    worst = timing.summary(1.0)["worst"]
    slowest = sorted(steps, key=lambda step: -step.latency)[:5]
    assert worst == [
        {"latency": round(s.latency, 6), "image_age": round(s.image_age, 6), "stamp": s.stamp, "overhead": 0.001}
        for s in slowest
    ]


def test_fewer_than_five_steps_are_all_the_worst():
    timing = DriveTiming(RATE, 0.0)
    timing.on_step(StepTiming(0.1, 0.2, 7.0, 0.002), 7.0)
    assert timing.summary(1.0)["worst"] == [{"latency": 0.1, "image_age": 0.2, "stamp": 7.0, "overhead": 0.002}]


def test_rates_are_counts_over_the_time_since_its_construction():
    timing = DriveTiming(RATE, 100.0)
    for i in range(60):
        timing.on_image(0.01)
        if i % 4 == 0:
            timing.on_step(StepTiming(0.1, 0.15, float(i), 0.0), 100.0 + i)
    assert timing.summary(104.0)["inference"] == {"rate": 3.75, "images": 15.0}
    assert timing.summary(104.0)["seconds"] == 4.0


def test_the_rate_of_commands_is_taken_between_the_first_and_the_last():
    timing = DriveTiming(RATE, 0.0)
    for i in range(11):
        timing.on_command(5.0 + 0.1 * i)
    assert timing.summary(60.0)["commands"] == {"rate": 10.0, "target": 20.0, "on_time": 0.0}


@pytest.mark.parametrize(
    ("intervals", "share"),
    [
        ([0.05] * 8, 1.0),
        ([0.041, 0.059, 0.05, 0.045], 1.0),
        ([0.039, 0.061, 0.05, 0.05], 0.5),
        ([0.1, 0.001, 0.05, 0.05], 0.5),
        ([5.0], 0.0),
    ],
)
def test_a_command_is_on_time_within_a_fifth_of_its_period(intervals, share):
    timing = DriveTiming(RATE, 0.0)
    for now in np.cumsum([3.0, *intervals]).tolist():
        timing.on_command(now)
    assert timing.summary(9.0)["commands"]["on_time"] == share


@pytest.mark.parametrize("commands", [0, 1])
def test_without_an_interval_there_is_no_rate(commands):
    timing = DriveTiming(RATE, 0.0)
    for _ in range(commands):
        timing.on_command(1.0)
    assert timing.summary(0.0)["commands"] == {"rate": 0.0, "target": 20.0, "on_time": 0.0}


def test_what_lies_around_a_step_is_told_apart():
    timing = DriveTiming(RATE, 0.0)
    timing.on_command(1.0)
    for i in range(1, 5):
        timing.on_image(0.004)
        timing.on_step(StepTiming(0.1, 0.15, float(i), 0.002), i + 0.01)
        timing.on_command(i + 0.04)
        timing.on_command(i + 0.09)
    summary = timing.summary(5.0)
    medians = {name: summary[name]["p50"] for name in ("transport", "overhead", "latency", "image_age", "tick_wait")}
    assert medians == pytest.approx(
        {"transport": 0.004, "overhead": 0.002, "latency": 0.1, "image_age": 0.15, "tick_wait": 0.03}, rel=0.011
    )


def test_of_actions_that_come_between_two_commands_the_last_one_waits():
    timing = DriveTiming(RATE, 0.0)
    timing.on_step(StepTiming(0.1, 0.15, 1.0, 0.002), 1.0)
    timing.on_step(StepTiming(0.1, 0.15, 1.1, 0.002), 1.1)
    timing.on_command(1.12)
    assert timing.summary(2.0)["tick_wait"]["max"] == pytest.approx(0.02)


# The report.


def a_drive() -> dict:
    """Drive for four seconds; the instruction is cleared, and two images come out of order."""
    times = {"period": PERIOD, "image_timeout": 0.5, "command_timeout": 0.5}
    governor, timing = Governor(Limits(), **times, may_move=True), DriveTiming(RATE, 100.0)
    governor.activate()
    for i in range(81):
        now = 100.0 + i * PERIOD
        governor.set_instruction("go on" if 1 <= i < 61 else "")
        key = governor.on_image(now - 0.01, now)
        assert key is not None
        timing.on_image(0.01)
        if i % 4 == 1 and i < 61:
            latency = 0.1 + 0.001 * i
            governor.on_action(Velocity(0.6, 0.0, 0.0), key)
            timing.on_step(StepTiming(latency, latency + 0.05, now, 0.0015), now - 0.02)
        if i in (30, 31):
            governor.on_image(now - 0.2, now)
        governor.tick(now)
        timing.on_command(now + (0.02 if i == 40 else 0.0))
    return drive_report(governor, timing, 104.0)


def test_the_report_is_plain_json():
    report = a_drive()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert list(report) == [
        *("seconds", "inference", "commands", "transport", "overhead", "latency", "image_age", "tick_wait"),
        *("worst", "reasons", "counts"),
    ]


def test_the_report_reads_as_sentences():
    assert format_report(a_drive()) == "\n".join(
        (
            "drove for 4.0 s",
            "  inference 3.8 Hz of 20.2 images/s; commands 20.00 Hz of 20, 97.5 % within 20 %",
            "  latency p50 130 p90 152 p99 157 max 157 ms; image age at the action p50 179 p90 201 p99 205 max 207 ms",
            "  besides the latency: transport p50 9.9 p90 9.9 p99 9.9 max 10.0 ms, the node p50 1.5 p90 1.5 p99 1.5 "
            "max 1.5 ms, wait for the next command p50 19.8 p90 19.8 p99 19.8 max 20.0 ms",
            "  reasons: MOVING 3.0 s (1x), NO_INSTRUCTION 0.8 s (2x), STOPPING 0.1 s (1x)",
            "  counts: images 83, images from the past 2, actions 15, actions clipped 15",
            "  slowest steps: 157 ms (image of 102.850), 153 ms (image of 102.650), 149 ms (image of 102.450), "
            "145 ms (image of 102.250), 141 ms (image of 102.050)",
        )
    )


def test_the_report_of_a_drive_that_never_began_reads_as_sentences_too():
    governor = Governor(Limits(), period=PERIOD, image_timeout=0.5, command_timeout=0.5, may_move=True)
    assert format_report(drive_report(governor, DriveTiming(RATE, 0.0), 1.0)) == "\n".join(
        (
            "drove for 1.0 s",
            "  inference 0.0 Hz of 0.0 images/s; commands 0.00 Hz of 20, 0.0 % within 20 %",
            "  latency p50 0 p90 0 p99 0 max 0 ms; image age at the action p50 0 p90 0 p99 0 max 0 ms",
            "  besides the latency: transport p50 0.0 p90 0.0 p99 0.0 max 0.0 ms, the node p50 0.0 p90 0.0 p99 0.0 "
            "max 0.0 ms, wait for the next command p50 0.0 p90 0.0 p99 0.0 max 0.0 ms",
            "  reasons: none",
            "  counts: none",
            "  slowest steps: none",
        )
    )
