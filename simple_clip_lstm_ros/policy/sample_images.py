"""Seeded crops of real photographs, to calibrate, compare and demonstrate policies.

Random pixels are not usable: every encoder maps noise to nearly the same features.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from simple_clip_lstm_ros.errors import InputError

# scikit-image ships these inside its package and downloads the others on first use.
NAMES = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "rocket")


def load_sample_images(most: int = len(NAMES)) -> list[np.ndarray]:
    """Load the first `most` of the ten photographs, uint8 [height, width, 3] in RGB.

    Four of the ten are in color. Raise InputError without scikit-image.
    """
    try:
        from skimage import color, data
    except ImportError:
        raise InputError("real photographs come with scikit-image: pip install scikit-image") from None
    images = (getattr(data, name)() for name in NAMES[:most])
    return [image if image.ndim == 3 else color.gray2rgb(image) for image in images]


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
