"""Thread that steps the policy on the newest image, without blocking its callers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time

from simple_clip_lstm_ros.control.control_loop import NewestObservation
from simple_clip_lstm_ros.control.governor import ObservationKey
from simple_clip_lstm_ros.errors import first_line
from simple_clip_lstm_ros.policy.policy import Action, Policy


@dataclass(frozen=True)
class InferenceRequest:
    """Image, uint8 [height, width, 3] RGB, its ROS stamp, and the Governor's key for it.

    `arrival` is the time of arrival by the steady clock, in seconds.
    """

    image: np.ndarray
    stamp: Time
    key: ObservationKey
    arrival: float


class InferenceThread:
    """Thread that owns the policy until `stop`; no other thread may step or reset it.

    The thread calls `on_action(action, request, waited)` or `on_failure(why, request)` after a step. `waited` is how
    many seconds the request waited although the thread was free.
    """

    def __init__(
        self,
        policy: Policy,
        state_timeout: float,
        on_action: Callable[[Action, InferenceRequest, float], None],
        on_failure: Callable[[str, InferenceRequest], None],
    ) -> None:
        self._policy = policy
        self._slot: NewestObservation[InferenceRequest] = NewestObservation(state_timeout)
        self._on_action = on_action
        self._on_failure = on_failure
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="inference")
        self._thread.start()

    def submit(self, request: InferenceRequest) -> None:
        """Submit a request; it replaces a waiting one.

        After an image gap the hidden state is reset before the step.
        """
        with self._changed:
            self._slot.put(request, request.key.stamp)
            self._changed.notify()

    def reset(self) -> None:
        """Clear the hidden state before the next step, and drop a waiting request."""
        with self._changed:
            self._slot.reset()

    def set_state_timeout(self, seconds: float) -> None:
        """Change the gap between images after which the hidden state is reset."""
        with self._changed:
            self._slot.state_timeout = seconds

    def stop(self, timeout: float | None = None) -> None:
        """Stop the thread; wait for a step in progress, for `timeout` seconds at most."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        free_since = 0.0
        while (request := self._next()) is not None:
            waited = time.monotonic() - max(request.arrival, free_since)
            try:
                action = self._policy.step(request.image, request.key.instruction, request.key.stamp)
                free_since = time.monotonic()
                self._on_action(action, request, waited)
            except Exception as error:  # any error of a step must stop the robot, not this thread
                free_since = time.monotonic()
                self._on_failure(first_line(error), request)

    def _next(self) -> InferenceRequest | None:
        """Wait for a request and return it; None to end. Reset the policy first if required."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot.is_waiting or self._is_stopping)
            taken = self._slot.take()
            if taken is None or self._is_stopping:
                return None
        request, must_reset = taken
        if must_reset:
            self._policy.reset()
        return request
