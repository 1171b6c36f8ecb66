"""What has to happen at a fixed rate, whatever the executor is busy with."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

_NAP = 0.1  # s; for so long at the most a thread that sleeps outlives `stop`


class PeriodicThread:
    """A thread that calls `act` once per `period` (seconds of the steady clock) until `stop`, first after one period.

    A period that was missed is left out and not made up for. `act` may be under way when `stop` returns.
    """

    def __init__(self, period: float, act: Callable[[], None], name: str) -> None:
        self._period = period
        self._act = act
        self._stopped = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def stop(self) -> None:
        self._stopped = True

    def _run(self) -> None:
        due = time.monotonic() + self._period
        while not self._stopped:
            # Not by waiting for an Event: before Python 3.11 that goes by the wall clock, which may jump.
            if (left := due - time.monotonic()) > 0.0:
                time.sleep(min(left, _NAP))
                continue
            self._act()
            due += self._period * max(1, math.ceil((time.monotonic() - due) / self._period))
