"""Seeded crops of real photographs, to calibrate, compare and demonstrate policies.

Random pixels are not usable: every encoder maps noise to nearly the same features.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from simple_clip_lstm_ros.errors import InputError

FOLDER = Path(__file__).parent / "photographs"  # its README.md states sources and licences
NAMES = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "rocket")


def load_sample_images(most: int = len(NAMES)) -> list[np.ndarray]:
    """Load the first `most` of the nine photographs, uint8 [height, width, 3] in RGB.

    Four of the nine are in color. Raise InputError if a file is missing.
    """
    return [_read(FOLDER / f"{name}.jpg") for name in NAMES[:most]]


def _read(file: Path) -> np.ndarray:
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"the sample photograph {file} cannot be read: install simple_clip_lstm_ros again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def sample_crops(count: int, *, seed: int = 0, size: tuple[int, int] = (240, 320)) -> Iterator[np.ndarray]:
    """Yield `count` crops of `size` (height, width), uint8 RGB, at positions drawn from `seed`.

    The photographs are used in turn.
    """
    height, width = size
    rng = np.random.default_rng(seed)
    images = load_sample_images(count)
    for index in range(count):
        image = images[index % len(images)]
        top = int(rng.integers(0, image.shape[0] - height + 1))
        left = int(rng.integers(0, image.shape[1] - width + 1))
        yield np.ascontiguousarray(image[top : top + height, left : left + width])


def iter_pan(*, size: tuple[int, int] = (240, 320), frames: int = 30) -> Iterator[np.ndarray]:
    """Yield an endless camera pan in crops of `size` (height, width), uint8 RGB.

    Each photograph in turn is crossed from corner to corner in `frames` crops.
    """
    height, width = size
    images = load_sample_images()
    for image in itertools.cycle(images):
        for step in np.linspace(0.0, 1.0, frames):
            top = round(step * (image.shape[0] - height))
            left = round(step * (image.shape[1] - width))
            yield np.ascontiguousarray(image[top : top + height, left : left + width])
