"""The same picture under fresh stamps: what a driver or decoder that hangs serves on and on."""

from __future__ import annotations

import array

import numpy as np

_BLOCK = 2**16  # bytes; two live pictures differ in the first


class Freeze:
    """For how long images with exactly the same bytes have been arriving.

    Age by stamp cannot tell such a camera from a live one, and the robot would drive on by a picture of the past. A
    sensor's noise makes each picture another; a simulator's, or a strongly compressed one of a wall, may well stay
    the same. So this is a reason to warn, and none to stop.
    """

    def __init__(self) -> None:
        self._seen: np.ndarray | None = None
        self._since = self._latest = 0.0

    def seconds(self, data: array.array[int] | bytes, now: float) -> float:
        """Since the first image like this one, by the caller's clock; 0.0 if this is it, or the clock went back.

        Called once for each image with its bytes, which are kept, not copied, until others come, and must stay as they
        are meanwhile.
        """
        image = np.frombuffer(data, np.uint8)
        if self._seen is None or now < self._latest or not _same(self._seen, image):
            self._seen, self._since = image, now
        self._latest = now
        return now - self._since


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """In blocks, since what differs mostly does so early, and blocks stay in the cache."""
    return one.size == other.size and all(
        np.array_equal(one[at : at + _BLOCK], other[at : at + _BLOCK]) for at in range(0, one.size, _BLOCK)
    )
