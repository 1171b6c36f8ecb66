"""The same bytes under fresh stamps: for how long."""

from __future__ import annotations

import array
import gc
import weakref

import numpy as np
import pytest

from simple_clip_lstm_ros.node.image_receiver import FrozenImageDetector

PICTURE = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8)


def data(change_at=None, size=PICTURE.size):
    """Always new memory, as a new message has."""
    picture = PICTURE[:size].copy()
    if change_at is not None:
        picture[change_at] ^= 1
    return array.array("B", picture.tobytes())


def test_the_first_image_is_new():
    assert FrozenImageDetector().frozen_for(data(), 100.0) == 0.0


def test_equal_images_add_up_from_the_first_on():
    detector = FrozenImageDetector()
    assert [detector.frozen_for(data(), now) for now in (10.0, 10.5, 12.0, 12.0)] == [0.0, 0.5, 2.0, 2.0]


@pytest.mark.parametrize("at", [0, 65_535, 65_536, 150_000, PICTURE.size - 1])
def test_one_bit_anywhere_makes_it_a_new_image(at):
    detector = FrozenImageDetector()
    detector.frozen_for(data(), 10.0)
    assert detector.frozen_for(data(at), 11.0) == 0.0
    assert detector.frozen_for(data(at), 13.0) == 2.0, "and counts from there"
    assert detector.frozen_for(data(), 14.0) == 0.0, "only the latest image counts"


@pytest.mark.parametrize(("first", "second"), [(300_000, 200_000), (200_000, 300_000), (0, 5), (5, 0)])
def test_another_size_is_another_image_though_the_one_begins_like_the_other(first, second):
    detector = FrozenImageDetector()
    detector.frozen_for(data(size=first), 10.0)
    assert detector.frozen_for(data(size=second), 11.0) == 0.0
    assert detector.frozen_for(data(size=second), 12.0) == 1.0


def test_a_clock_that_goes_back_starts_again():
    detector = FrozenImageDetector()
    detector.frozen_for(data(), 10.0)
    detector.frozen_for(data(), 20.0)
    assert detector.frozen_for(data(), 15.0) == 0.0, "though later than the first"
    assert detector.frozen_for(data(), 16.0) == 1.0


def test_any_bytes_will_do():
    detector = FrozenImageDetector()
    detector.frozen_for(data(), 1.0)
    assert detector.frozen_for(bytes(data()), 2.0) == 1.0


@pytest.mark.parametrize("changes", [[None, None, None], [0, 1, 2]], ids=["frozen", "live"])
def test_no_more_than_one_image_is_kept(changes):
    class Data(array.array):
        """One that can be watched."""

    detector, watched = FrozenImageDetector(), []
    for now, change in enumerate(changes):
        image = Data("B", data(change))
        watched.append(weakref.ref(image))
        detector.frozen_for(image, float(now))
        del image
    gc.collect()
    assert sum(watch() is not None for watch in watched) == 1


def test_images_are_not_copied():
    image = data()
    detector = FrozenImageDetector()
    detector.frozen_for(image, 1.0)
    with pytest.raises(BufferError):
        image.append(0)  # its memory is lent
