"""Camera messages to RGB: golden pixels, computed here, for our own reader; and cv_bridge, where it imports, agrees."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.node import images
from simple_clip_lstm_ros.node.images import to_rgb

HEIGHT, WIDTH = 6, 8
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
ALPHA = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)
COLORS = [(200, 90, 30), (10, 250, 120), (128, 128, 128)]


@pytest.fixture(autouse=True)
def without_cv_bridge(monkeypatch):
    monkeypatch.setattr(images, "CvBridge", None)


def message(encoding, pixels, padding=0):
    """Of WIDTH pixels a row, whatever bytes they have."""
    rows = np.asarray(pixels, np.uint8).reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    data = array.array("B", padded.tobytes())
    return Image(height=len(rows), width=WIDTH, encoding=encoding, step=padded.shape[1], data=data)


def uniform(color):
    return np.full((HEIGHT, WIDTH, 3), color, np.uint8)


@pytest.mark.parametrize("padding", [0, 12])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[:, :, ::-1]),
        ("8UC3", RGB[:, :, ::-1]),
        ("rgba8", np.concatenate([RGB, ALPHA], axis=2)),
        ("bgra8", np.concatenate([RGB[:, :, ::-1], ALPHA], axis=2)),
    ],
)
def test_colour_comes_out_exactly(encoding, pixels, padding):
    assert np.array_equal(to_rgb(message(encoding, pixels, padding)), RGB)


@pytest.mark.parametrize("padding", [0, 5])
def test_grey_becomes_three_equal_channels(padding):
    rgb = to_rgb(message("mono8", RGB[:, :, 0], padding))
    assert np.array_equal(rgb, np.repeat(RGB[:, :, :1], 3, axis=2))


# The names tell the pixels from the top left on, row by row.
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_give_back_the_colour_that_they_sampled(pattern, color, padding):
    value = dict(zip("rgb", color, strict=True))
    tile = np.array([[value[pattern[0]], value[pattern[1]]], [value[pattern[2]], value[pattern[3]]]], np.uint8)
    mosaic = np.tile(tile, (HEIGHT // 2, WIDTH // 2))
    assert np.array_equal(to_rgb(message(f"bayer_{pattern}8", mosaic, padding)), uniform(color))


def yuv(color):
    """BT.601 in video range, as cameras send it."""
    red, green, blue = (value / 255 for value in color)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    blue_difference, red_difference = (blue - luma) / 1.772, (red - luma) / 1.402
    return [round(v) for v in (16 + 219 * luma, 128 + 224 * blue_difference, 128 + 224 * red_difference)]


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv_pairs_of_pixels_give_back_their_colour(encoding, order, color):
    y, u, v = yuv(color)
    pair = [next({"y": iter([y] * 2), "u": iter([u]), "v": iter([v])}[letter]) for letter in order]
    rgb = to_rgb(message(encoding, np.tile(np.array(pair, np.uint8), (HEIGHT, WIDTH // 2)), padding=4))
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(rgb.astype(int) - color).max() <= 3, "eight bits of YUV hold no more"


@pytest.mark.parametrize("kind", [".png", ".jpg"])
@pytest.mark.parametrize("color", COLORS)
def test_compressed_images_are_decoded(kind, color):
    data = cv2.imencode(kind, uniform(color)[:, :, ::-1])[1]
    rgb = to_rgb(CompressedImage(format=kind, data=array.array("B", data.tobytes())))
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(rgb.astype(int) - color).max() <= (0 if kind == ".png" else 4)


def test_compressed_grey_becomes_three_channels():
    data = cv2.imencode(".png", RGB[:, :, 0])[1]
    rgb = to_rgb(CompressedImage(format="png", data=array.array("B", data.tobytes())))
    assert np.array_equal(rgb, np.repeat(RGB[:, :, :1], 3, axis=2))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"encoding": "16UC1"}, "encoding '16UC1' is not one of"),
        ({"encoding": ""}, "encoding '' is not one of"),
        ({"width": 0}, "0 x 6 pixels"),
        ({"height": 0}, "8 x 0 pixels"),
        ({"step": 23}, "row of 23 bytes is too short for 8 pixels of rgb8"),
        ({"encoding": "rgba8"}, "row of 24 bytes is too short"),
        ({"height": 7}, "144 bytes where 7 rows of 24"),
        ({"data": array.array("B")}, "0 bytes where"),
        ({"height": 2**32 - 1, "step": 2**32 - 1}, "144 bytes where"),
        ({"encoding": "yuv422", "width": 7}, "yuv422"),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_reason(changes, why):
    image = message("rgb8", RGB)
    for name, value in changes.items():
        setattr(image, name, value)
    with pytest.raises(InputError, match=why):
        to_rgb(image)


@pytest.mark.parametrize("height", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("encoding", ["rgb8", "mono8", "bayer_rggb8", "yuv422", "yuyv"])
def test_the_smallest_images_are_read_or_refused(encoding, width, height):
    image = Image(height=height, width=width, encoding=encoding, step=width * 3, data=bytes(height * width * 3))
    try:
        assert to_rgb(image).shape == (height, width, 3)
    except InputError:
        assert encoding in ("yuv422", "yuyv") and width % 2


@pytest.mark.parametrize("data", [b"", b"noise", cv2.imencode(".jpg", RGB)[1].tobytes()[:50]])
def test_compressed_images_that_do_not_decode_are_refused_with_format_and_size(data):
    with pytest.raises(InputError, match=rf"'jpeg', {len(data)} bytes"):
        to_rgb(CompressedImage(format="jpeg", data=data))


def test_an_image_is_not_copied_without_need():
    image = message("rgb8", RGB)
    assert np.shares_memory(to_rgb(image), np.frombuffer(image.data, np.uint8))


@pytest.mark.skipif(images.CvBridge is None, reason="cv_bridge does not import here")
@pytest.mark.parametrize("encoding", images._ENCODINGS)
def test_cv_bridge_reads_the_same(encoding, monkeypatch):
    channels = images._ENCODINGS[encoding][0]
    pixels = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH * channels), np.uint8)
    ours = to_rgb(message(encoding, pixels, padding=channels))
    monkeypatch.undo()
    theirs = to_rgb(message(encoding, pixels, padding=channels))
    assert np.abs(ours.astype(int) - theirs).max() <= 1, "as far as two versions of OpenCV round"
