"""The thread that steps the policy, with a policy whose steps last until they are let go."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from builtin_interfaces.msg import Time

from simple_clip_lstm_ros.control.governor import ObservationKey
from simple_clip_lstm_ros.node.inference_thread import InferenceRequest, InferenceThread

STATE_TIMEOUT = 2.0


def frame(seconds, instruction="go", arrival=0.0):
    whole = int(seconds)
    stamp = Time(sec=whole, nanosec=round((seconds - whole) * 1e9))
    return InferenceRequest(
        np.zeros((2, 2, 3), np.uint8), stamp, ObservationKey(seconds, instruction, generation=0), arrival
    )


class Policy:
    """Notes steps (their stamps) and resets ("reset"); a step waits for `going`."""

    def __init__(self):
        self.calls = []
        self.going = threading.Event()
        self.going.set()
        self.stepping = threading.Semaphore(0)
        self.error = None

    def step(self, image, instruction, stamp):
        self.calls.append(stamp)
        self.stepping.release()
        self.going.wait(5.0)
        if self.error:
            raise self.error
        return f"action at {stamp:g}"

    def reset(self):
        self.calls.append("reset")


@pytest.fixture
def policy():
    return Policy()


@pytest.fixture
def results():
    return []


@pytest.fixture
def done():
    """Released once for each step that has ended."""
    return threading.Semaphore(0)


@pytest.fixture
def waits():
    """Of each action: how long its frame could have been stepped on before it was."""
    return []


@pytest.fixture
def thread(policy, results, waits, done):
    def note(result, frame, *waited):
        results.append((result, frame))
        waits.extend(waited)
        done.release()

    thread = InferenceThread(policy, STATE_TIMEOUT, note, note)
    yield thread
    policy.going.set()
    thread.stop()


@pytest.fixture
def step(thread, done):
    """Steps through frames one after the other."""

    def step(*frames):
        for frame in frames:
            thread.submit(frame)
            assert done.acquire(timeout=5.0)

    return step


def test_an_action_comes_with_its_frame(step, results):
    given = frame(1.5)
    step(given)
    assert results == [("action at 1.5", given)]


def test_the_wait_of_a_frame_counts_from_its_arrival(step, waits):
    step(frame(1.0, arrival=time.monotonic() - 0.2))
    assert 0.2 <= waits[0] < 0.4


def test_and_not_while_the_step_before_it_lasts(thread, policy, done, waits):
    policy.going.clear()
    thread.submit(frame(1.0, arrival=time.monotonic()))
    assert policy.stepping.acquire(timeout=5.0)
    thread.submit(frame(1.1, arrival=time.monotonic()))
    time.sleep(0.3)
    policy.going.set()
    assert all(done.acquire(timeout=5.0) for _ in range(2))
    assert all(0.0 <= wait < 0.2 for wait in waits)


def test_of_frames_that_wait_only_the_newest_is_stepped(thread, policy, done):
    policy.going.clear()
    thread.submit(frame(1.0))
    assert policy.stepping.acquire(timeout=5.0)
    for late in (1.1, 1.2, 1.3):
        thread.submit(frame(late))
    policy.going.set()
    assert all(done.acquire(timeout=5.0) for _ in range(2))
    assert policy.calls == ["reset", 1.0, 1.3]


def test_it_begins_with_a_reset_and_then_keeps_the_state(step, policy):
    step(frame(1.0), frame(1.1), frame(3.0))
    assert policy.calls == ["reset", 1.0, 1.1, 3.0]


def test_an_image_gap_resets(step, policy):
    step(frame(1.0), frame(1.0 + STATE_TIMEOUT + 0.1), frame(3.2))
    assert policy.calls == ["reset", 1.0, "reset", 3.1, 3.2]


def test_stamps_that_go_back_reset(step, policy):
    step(frame(5.0), frame(4.0))
    assert policy.calls == ["reset", 5.0, "reset", 4.0]


def test_a_model_slower_than_the_gap_keeps_its_state_while_images_come(thread, policy, done):
    """The gap is between images: those that came during a step count, though only the last of them is stepped."""
    policy.going.clear()
    thread.submit(frame(1.0))
    assert policy.stepping.acquire(timeout=5.0)
    for late in (2.0, 3.0, 4.0, 5.0):
        thread.submit(frame(late))
    policy.going.set()
    assert all(done.acquire(timeout=5.0) for _ in range(2))
    assert policy.calls == ["reset", 1.0, 5.0]


def test_a_gap_among_images_that_came_during_a_step_resets(thread, policy, done):
    policy.going.clear()
    thread.submit(frame(1.0))
    assert policy.stepping.acquire(timeout=5.0)
    for late in (1.1, 4.0, 4.1):
        thread.submit(frame(late))
    policy.going.set()
    assert all(done.acquire(timeout=5.0) for _ in range(2))
    assert policy.calls == ["reset", 1.0, "reset", 4.1]


def test_reset_clears_the_state_before_the_next_step(step, thread, policy):
    step(frame(1.0))
    thread.reset()
    step(frame(1.1), frame(1.2))
    assert policy.calls == ["reset", 1.0, "reset", 1.1, 1.2]


def test_reset_drops_a_frame_that_waits(thread, policy, done):
    policy.going.clear()
    thread.submit(frame(1.0))
    assert policy.stepping.acquire(timeout=5.0)
    thread.submit(frame(1.1))
    thread.reset()
    policy.going.set()
    assert done.acquire(timeout=5.0)
    thread.submit(frame(1.2))
    assert done.acquire(timeout=5.0)
    assert policy.calls == ["reset", 1.0, "reset", 1.2]


def test_a_step_that_raises_is_told_in_one_line_and_the_next_one_runs(step, policy, results):
    policy.error = ValueError("too long\nand more")
    failed = frame(1.0)
    step(failed)
    policy.error = None
    step(frame(1.1))
    (why, about), (action, _) = results
    assert about is failed and "too long" in why and "\n" not in why
    assert action == "action at 1.1"


def test_stop_waits_for_the_step_under_way_and_starts_no_other(thread, policy, results):
    policy.going.clear()
    thread.submit(frame(1.0))
    assert policy.stepping.acquire(timeout=5.0)
    thread.submit(frame(1.1))
    stopper = threading.Thread(target=thread.stop)
    stopper.start()
    time.sleep(0.05)
    assert stopper.is_alive(), "the step is still under way"
    policy.going.set()
    stopper.join(5.0)
    assert not stopper.is_alive()
    assert [result for result, _ in results] == ["action at 1"]
    assert policy.calls == ["reset", 1.0]


def test_stop_ends_a_thread_that_waits_for_frames(policy):
    before = threading.active_count()
    InferenceThread(policy, STATE_TIMEOUT, print, print).stop()
    assert threading.active_count() == before
    assert policy.calls == []
