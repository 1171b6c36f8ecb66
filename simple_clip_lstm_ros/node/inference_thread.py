"""The thread that steps the policy. It sees only the newest frame and never keeps anybody waiting."""

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
    """uint8 [height, width, 3] in RGB with its stamp, and as what the Governor has taken it.

    `arrival` is by the steady clock, in seconds.
    """

    image: np.ndarray
    stamp: Time
    key: ObservationKey
    arrival: float


class InferenceThread:
    """Owns the policy from construction to `stop`: nobody else may step or reset it.

    `on_action` and `on_failure` are called from this thread, with the frame that they are about. The former is also
    told for how many seconds the frame could have been stepped on before it was.
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
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="inference")
        self._thread.start()

    def submit(self, frame: InferenceRequest) -> None:
        """Offer the newest frame; one that was not yet taken is replaced. After a gap the hidden state is stale."""
        with self._changed:
            self._slot.put(frame, frame.key.stamp)
            self._changed.notify()

    def reset(self) -> None:
        """Clear the hidden state before the next step, and drop a frame that waits."""
        with self._changed:
            self._slot.reset()

    def set_state_timeout(self, seconds: float) -> None:
        """Change the gap between images after which the hidden state is reset."""
        with self._changed:
            self._slot.state_timeout = seconds

    def stop(self, patience: float | None = None) -> None:
        """Return when a step under way has ended, or after `patience` seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(patience)

    def _run(self) -> None:
        free = 0.0
        while (frame := self._next()) is not None:
            waited = time.monotonic() - max(frame.arrival, free)
            try:
                action = self._policy.step(frame.image, frame.key.instruction, frame.key.stamp)
                free = time.monotonic()
                self._on_action(action, frame, waited)
            except Exception as error:  # whatever a step raises must stop the robot and not this thread
                free = time.monotonic()
                self._on_failure(first_line(error), frame)

    def _next(self) -> InferenceRequest | None:
        """Wait for a frame; None to end. Resets the policy first if that was asked for."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot.is_waiting or self._stopping)
            taken = self._slot.take()
            if taken is None or self._stopping:
                return None
        request, must_reset = taken
        if must_reset:
            self._policy.reset()
        return request
