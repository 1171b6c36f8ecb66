"""Seeded crops of real photographs: the frames on which policies are calibrated, compared and demonstrated.

Random pixels would not do: every encoder maps noise to nearly the same features.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from simple_clip_lstm_ros.errors import InputError

# scikit-image ships these inside its package; the rest of its gallery is downloaded on first use.
NAMES = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "rocket")


def load_sample_images(most: int = len(NAMES)) -> list[np.ndarray]:
    """Ten photographs or the first of them, uint8 [height, width, 3] in RGB (four of the ten in colour).

    Raises InputError without scikit-image.
    """
    try:
        from skimage import color, data
    except ImportError:
        raise InputError("real photographs come with scikit-image: pip install scikit-image") from None
    images = (getattr(data, name)() for name in NAMES[:most])
    return [image if image.ndim == 3 else color.gray2rgb(image) for image in images]


def sample_crops(count: int, *, seed: int = 0, size: tuple[int, int] = (240, 320)) -> Iterator[np.ndarray]:
    """`count` crops of `size` (height, width), photographs in turn, positions by `seed`; uint8 RGB."""
    height, width = size
    rng = np.random.default_rng(seed)
    images = load_sample_images(count)
    for index in range(count):
        image = images[index % len(images)]
        top = int(rng.integers(0, image.shape[0] - height + 1))
        left = int(rng.integers(0, image.shape[1] - width + 1))
        yield np.ascontiguousarray(image[top : top + height, left : left + width])


def iter_pan(*, size: tuple[int, int] = (240, 320), frames: int = 30) -> Iterator[np.ndarray]:
    """An endless camera drive: `frames` crops of `size` from corner to corner of each photograph in turn; uint8 RGB."""
    height, width = size
    images = load_sample_images()
    for image in itertools.cycle(images):
        for step in np.linspace(0.0, 1.0, frames):
            top = round(step * (image.shape[0] - height))
            left = round(step * (image.shape[1] - width))
            yield np.ascontiguousarray(image[top : top + height, left : left + width])
