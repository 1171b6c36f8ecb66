"""The thread that commands: at its rate, without catching up, and silent once stopped."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest

from simple_clip_lstm_ros.ros.process import PeriodicThread

pytestmark = pytest.mark.serial


@pytest.fixture
def tick():
    """Starts one; all are stopped in the end."""
    tickers = []

    def tick(period, act):
        tickers.append(PeriodicThread(period, act, "ticks"))
        return tickers[-1]

    yield tick
    for ticker in tickers:
        ticker.stop()
    until(lambda: not threads())


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "ticks"]


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_it_keeps_its_rate_over_time(tick):
    begin, times = time.monotonic(), []
    tick(0.02, lambda: times.append(time.monotonic()))
    until(lambda: len(times) > 50)
    # Each is due at a multiple of the period, however late the one before was: lateness does not add up. Multiples that
    # a busy machine has missed are left out.
    late = [(at - begin) % 0.02 for at in times]
    assert sorted(late)[len(late) // 2] < 0.01
    assert times[0] - begin > 0.019


def test_what_was_missed_is_not_made_up_for(tick):
    times = []

    def act():
        times.append(time.monotonic())
        if len(times) == 2:
            time.sleep(0.33)

    tick(0.1, act)
    until(lambda: len(times) > 4)
    assert times[2] - times[1] > 0.33
    assert all(late - early > 0.05 for early, late in pairwise(times[2:]))


def test_once_stopped_it_begins_nothing_and_its_thread_ends(tick):
    times = []
    ticker = tick(0.01, lambda: times.append(time.monotonic()))
    until(lambda: times)
    ticker.stop()
    until(lambda: not threads())
    seen = len(times)
    time.sleep(0.05)
    assert len(times) == seen


def test_a_long_period_does_not_keep_its_thread(tick):
    ticker = tick(1000.0, lambda: None)
    assert threads()
    ticker.stop()
    until(lambda: not threads(), 2.0)
