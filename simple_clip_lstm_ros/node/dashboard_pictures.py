"""What the browser is shown: the newest picture as a JPEG, made once however many look."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import cv2
import numpy as np

from simple_clip_lstm_ros.data.images import to_jpeg, to_rgb
from simple_clip_lstm_ros.errors import InputError

OVERLAY, CAMERA = b"o", b"c"
_WIDEST = 1280  # pixels; a larger picture is halved until it is no wider
_FRESH = 1.0  # s
_QUALITY = 75


class Pictures:
    """`take` is called by ROS's thread, all else by the web's. Only the newest counts."""

    def __init__(self) -> None:
        self._newest: tuple[int, bytes, Any] | None = None
        self._made: tuple[int, bytes] = (0, b"")
        self._making = asyncio.Lock()
        self._taken_at = 0.0  # monotonic
        self.fault = ""  # of the newest that could not be shown

    def take(self, source: bytes, message: Any) -> None:
        number = self._newest[0] if self._newest else 0
        self._newest = (number + 1, source, message)
        self._taken_at = time.monotonic()

    def has_newer(self, number: int) -> bool:
        """Whether there is one that is no picture of the past, as after a while in which nobody looked."""
        newest = self._newest
        return newest is not None and newest[0] > number and time.monotonic() - self._taken_at < _FRESH

    async def newest(self) -> tuple[int, bytes]:
        """Its number, and its source (one byte) followed by the JPEG; empty if it cannot be shown.

        Only after one was taken.
        """
        async with self._making:
            assert self._newest is not None
            number, source, message = self._newest
            if number != self._made[0]:
                try:
                    self._made = (number, source + await asyncio.to_thread(_jpeg, message))
                    self.fault = ""
                except InputError as error:
                    self._made, self.fault = (number, b""), str(error)
            return self._made


def _jpeg(message: Any) -> bytes:
    image = np.asarray(to_rgb(message))
    while image.shape[1] > _WIDEST:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return to_jpeg(image, _QUALITY)
