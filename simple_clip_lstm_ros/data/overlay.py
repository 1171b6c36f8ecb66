"""What is drawn over a frame for people to see."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_MIN_WIDTH = 480  # pixels across; on a narrower frame no line of text fits


def upscale_small(rgb: np.ndarray) -> np.ndarray:
    """The frame, a whole number of times as large if it is small; its pixels stay to be seen."""
    times = -(-_MIN_WIDTH // rgb.shape[1])
    return rgb.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else rgb


def draw_text(rgb: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """A copy of the frame with lines of text at its top left, on darkened ground."""
    drawn = np.ascontiguousarray(rgb).copy()
    scale = max(0.4, rgb.shape[0] / 960)
    drawn[: int(32 * scale * (len(lines) + 0.4))] //= 3
    for number, line in enumerate(lines, start=1):
        at = (int(10 * scale), int(32 * scale * number))
        cv2.putText(drawn, line, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return drawn
