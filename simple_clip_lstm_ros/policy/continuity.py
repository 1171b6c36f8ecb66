"""Whether an image still continues what the hidden state remembers."""

from __future__ import annotations


class Continuity:
    """Of one drive. `timeout` is the gap between images, in seconds, after which the memory is of another moment."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._last = 0.0

    def breaks(self, stamp: float) -> bool:
        """Note an image's stamp in seconds; whether the hidden state is to be reset before it is stepped on.

        Between images, not between steps: a slow model leaves out many and still remembers. A stamp that went back is a
        new recording or another clock: a gap as well.
        """
        gap, self._last = stamp - self._last, stamp
        return not 0.0 <= gap <= self.timeout
