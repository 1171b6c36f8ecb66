"""Draw text on frames for display."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_MIN_WIDTH = 480  # pixels; on a narrower frame a line of text does not fit


def upscale_small(rgb: np.ndarray) -> np.ndarray:
    """Enlarge a small frame by an integer factor, so that its pixels remain visible."""
    factor = -(-_MIN_WIDTH // rgb.shape[1])
    return rgb.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else rgb


def draw_text(rgb: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Return a copy of the frame with lines of text at the top left, on a darkened background."""
    drawn = np.ascontiguousarray(rgb).copy()
    scale = max(0.4, rgb.shape[0] / 960)
    drawn[: int(32 * scale * (len(lines) + 0.4))] //= 3
    for number, line in enumerate(lines, start=1):
        position = (int(10 * scale), int(32 * scale * number))
        cv2.putText(drawn, line, position, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return drawn
