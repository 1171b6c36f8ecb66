"""Thread that calls a function at a fixed rate, independent of the executor."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

_MAX_SLEEP = 0.1  # s; a sleeping thread ends within this after `stop`


class PeriodicThread:
    """Thread that calls `callback` once per `period` until `stop`, first after one period.

    `period` is in seconds of the steady clock. Missed periods are skipped, not made up for. `callback` may still run
    when `stop` returns.
    """

    def __init__(self, period: float, callback: Callable[[], None], name: str) -> None:
        self._period = period
        self._callback = callback
        self._is_stopped = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def stop(self) -> None:
        self._is_stopped = True

    def _run(self) -> None:
        due = time.monotonic() + self._period
        while not self._is_stopped:
            # Do not wait for an Event: before Python 3.11 that uses the wall clock, which may jump.
            if (left := due - time.monotonic()) > 0.0:
                time.sleep(min(left, _MAX_SLEEP))
                continue
            self._callback()
            due += self._period * max(1, math.ceil((time.monotonic() - due) / self._period))
