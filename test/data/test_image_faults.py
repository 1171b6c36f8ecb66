"""Images that contradict themselves, are cut off or are no pictures: refused in one line, and never worse than that."""

from __future__ import annotations

import array
import re
import resource
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from simple_clip_lstm_ros.data import image_decoding
from simple_clip_lstm_ros.data.image_decoding import to_rgb
from simple_clip_lstm_ros.errors import InputError

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
PHOTOGRAPH = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8), (0, 0), 3)
MOST = 2**32 - 1
FOREIGN = ["", "RGB8", "rgb8 ", "bgr8\n", "\x1b[31mrgb8", "nv24", "64FC1", "jpeg!", "é" * 500, "16UC1", "32FC1"]


@pytest.fixture(autouse=True)
def without_cv_bridge(monkeypatch):
    monkeypatch.setattr(image_decoding, "_BRIDGE", None)


def compressed(data, kind="jpeg"):
    return CompressedImage(format=kind, data=array.array("B", bytes(data)))


def encoded(kind, pixels=PHOTOGRAPH, *options):
    return cv2.imencode(kind, pixels, options)[1].tobytes()


JPEG, PNG = encoded(".jpg"), encoded(".png")
THUMBNAIL = b"Exif\0\0" + encoded(".jpg", RGB)
ILLUSTRATED = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(THUMBNAIL) + 2) + THUMBNAIL + JPEG[2:]


def refusal(message):
    with pytest.raises(InputError) as caught:
        to_rgb(message)
    reason = str(caught.value)
    assert reason.isprintable() and len(reason) < 500
    return reason


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"encoding": "jpeg!"}, "encoding 'jpeg!' is not one of rgb8, .*: set the driver"),
        ({"encoding": ""}, "encoding '' is not one of"),
        ({"encoding": "rgb8\n\x1b[31m"}, r"encoding 'rgb8\\n\\x1b\[31m' is not one of"),
        ({"encoding": "rgb8" * 1000}, "encoding '(rgb8){10}' is not one of"),
        ({"encoding": "16UC1"}, "'16UC1' is a depth image, not a picture: remap"),
        ({"encoding": "32FC1"}, "'32FC1' is a depth image, not a picture: remap"),
        ({"width": 0}, "0 x 6 pixels: look at"),
        ({"height": 0}, "8 x 0 pixels: look at"),
        ({"step": 0}, "row of 0 bytes"),
        ({"step": 23}, r"row of 23 bytes \(step\) is too short for 8 pixels of rgb8: look at"),
        ({"encoding": "rgba8"}, "row of 24 bytes .* is too short"),
        ({"encoding": "mono16", "step": 15}, "row of 15 bytes .* is too short"),
        ({"height": 7}, "144 image bytes where 7 rows of 24"),
        ({"data": array.array("B")}, "0 image bytes where"),
        ({"data": array.array("B", bytes(143))}, "143 image bytes where 6 rows of 24"),
        ({"data": array.array("B", bytes(6 * 32))}, "192 image bytes where 6 rows of 24 are announced: look at"),
        ({"height": MOST, "width": MOST, "step": MOST}, "row of 4294967295 bytes .* is too short"),
        ({"height": MOST, "width": MOST, "step": MOST, "encoding": "mono8"}, "144 image bytes where"),
        ({"height": MOST, "step": MOST}, "144 image bytes where"),
        ({"encoding": "yuv422", "width": 7}, "yuv422 needs an even width, and 7 x 6 is not: set another size"),
        ({"encoding": "yuyv", "width": 7}, "yuyv needs an even width, and 7 x 6 is not: set another size"),
        ({"encoding": "nv12", "width": 7}, "nv12 needs an even width and height, and 7 x 6 is not"),
        ({"encoding": "nv21", "height": 5}, "nv21 needs an even width and height, and 8 x 5 is not"),
        ({"encoding": "nv12"}, "144 image bytes where 9 rows of 24"),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_reason(changes, why):
    image = Image(height=6, width=8, encoding="rgb8", step=24, data=array.array("B", RGB.tobytes()))
    for name, value in changes.items():
        setattr(image, name, value)
    assert re.search(why, refusal(image))


def test_bytes_after_the_rows_are_no_fault():
    """Drivers hand on buffers whose size was rounded up."""
    image = Image(height=6, width=8, encoding="rgb8", step=24, data=array.array("B", RGB.tobytes() + bytes(13)))
    assert np.array_equal(to_rgb(image), RGB)


@pytest.mark.parametrize("height", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("encoding", image_decoding._PIXEL_FORMATS)
def test_the_smallest_images_are_read_or_refused(encoding, width, height):
    layout = image_decoding._PIXEL_FORMATS[encoding]
    rows = height * 3 // 2 if encoding.startswith("nv") else height
    data = array.array("B", bytes(rows * width * layout.width))
    image = Image(height=height, width=width, encoding=encoding, step=width * layout.width, data=data)
    if width % layout.block[0] or height % layout.block[1]:
        assert "needs an even" in refusal(image)
    else:
        assert to_rgb(image).shape == (height, width, 3)


@pytest.mark.parametrize("data", [b"", b"noise", b"RIFF....WEBP", JPEG[:1], PNG[:15], JPEG[2:], encoded(".bmp")])
def test_what_is_neither_jpeg_nor_png_is_refused_with_format_and_size(data):
    assert f"('tiff', {len(data)} bytes) is neither JPEG nor PNG: set" in refusal(compressed(data, "tiff"))


@pytest.mark.parametrize("kind", ["16UC1; compressedDepth png", "16UC1; png compressed ", "32FC1; compressedDepth rvl"])
def test_compressed_depth_is_refused_as_such(kind):
    assert "is a depth image, not a picture" in refusal(compressed(PNG, kind))


def test_the_name_of_a_format_is_printed_harmlessly():
    assert r"('\x1b[31m\n" in refusal(compressed(b"noise", "\x1b[31m\n" + "x" * 1000))


@pytest.mark.parametrize("filler", [b"", bytes(20_000)], ids=["", "zeros in their place"])
@pytest.mark.parametrize(
    "whole",
    [JPEG, encoded(".jpg", PHOTOGRAPH, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), ILLUSTRATED, PNG],
    ids=["JPEG", "progressive JPEG", "JPEG with a thumbnail", "PNG"],
)
def test_whatever_is_cut_off_is_refused(whole, filler):
    """OpenCV paints what a JPEG lacks grey, and warns on stderr where nobody looks."""
    assert to_rgb(compressed(whole)).shape == PHOTOGRAPH.shape
    for size in (*range(2, len(whole) - 1, 7), len(whole) - 1):
        refusal(compressed(whole[:size] + filler))
    assert "is cut off: look at the camera's connection" in refusal(compressed(whole[:-12] + filler))


def chunk(kind, held):
    """Of a PNG."""
    return struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))


def png_of(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return PNG[:8] + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def jpeg_of(width, height):
    """The same header on the same bytes."""
    size = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:size] + struct.pack(">HH", height, width) + JPEG[size + 4 :]


def tables_before(jpeg):
    """The frame header behind Huffman tables."""
    header, tables, scan = (jpeg.index(mark) for mark in (b"\xff\xc0", b"\xff\xc4", b"\xff\xda"))
    return jpeg[:header] + jpeg[tables:scan] + jpeg[header:]


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png_of(100_000, 100_000), "100000 x 100000"),
        (png_of(MOST, MOST), "4294967295 x 4294967295"),
        (png_of(30_000, 30_000), "30000 x 30000"),
        (jpeg_of(65_500, 65_500), "65500 x 65500"),
        (jpeg_of(30_000, 30_000), "30000 x 30000"),
        (tables_before(jpeg_of(30_000, 30_000)), "30000 x 30000"),
        (jpeg_of(30_000, 0), "30000 x 0"),
        (png_of(0, 5), "0 x 5"),
        (JPEG[:2] + b"\xff" * 3_000_000 + JPEG[2:], "0 x 0"),
        (JPEG[:2] + b"\xff\xfe\0\2" * 1_000_000 + JPEG[2:], "0 x 0"),
        (JPEG[:2] + b"\xff\1" + JPEG[2:], "0 x 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_absurd_sizes_are_refused_before_anything_is_allocated(data, size):
    message, before, started = compressed(data), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    assert f"of {size} pixels: its size is missing, or more than" in refusal(message)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "KiB"
    assert time.monotonic() - started < 2.0


def test_the_largest_cameras_are_read():
    frame = np.full((4320, 7680), 200, np.uint8)
    assert to_rgb(compressed(encoded(".jpg", frame))).shape == (4320, 7680, 3)


def any_raw(rng):
    """Sound in half of the cases, and else wrong in a size, the step or the data."""
    encoding = str(
        rng.choice([*image_decoding._PIXEL_FORMATS, *FOREIGN] if rng.random() < 0.2 else list(image_decoding._PIXEL_FORMATS))
    )
    layout = image_decoding._PIXEL_FORMATS.get(encoding, image_decoding._PIXEL_FORMATS["bgr8"])
    height, width = (int(rng.choice([1, 2, 3, 4, 6, 7, 8, 33, 64])) for _ in range(2))
    step = width * layout.width + int(rng.choice([0, 0, 1, 2, 5, 64]))
    data = rng.integers(0, 256, step * (height * 3 // 2 if encoding.startswith("nv") else height), np.uint8).tobytes()
    match rng.integers(10):
        case 0:
            height = int(rng.choice([0, height + 1, height * 2, 2**16, 2**31, MOST]))
        case 1:
            width = int(rng.choice([0, width + 1, width * 2, 2**16, 2**31, MOST]))
        case 2:
            step = int(rng.choice([0, 1, step - 1, step + 1, step * 2, 2**31, MOST]))
        case 3:
            data = data[: rng.integers(len(data))]
        case 4:
            data += bytes(int(rng.integers(1, 2000)))
    image = Image(height=height, width=width, encoding=encoding, step=step, is_bigendian=int(rng.choice([0, 1, 255])))
    image.data = array.array("B", data)
    return image


SEEDS = [
    JPEG,
    PNG,
    ILLUSTRATED,
    encoded(".jpg", PHOTOGRAPH[:, :, 0]),
    encoded(".jpg", PHOTOGRAPH, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    encoded(".png", PHOTOGRAPH.astype(np.uint16) * 257),
    encoded(".png", np.dstack([PHOTOGRAPH, PHOTOGRAPH[:, :, 0]])),
    encoded(".png", PHOTOGRAPH[:, :, 0]),
]


def any_compressed(rng):
    data = bytearray(SEEDS[rng.integers(len(SEEDS))])
    at = int(rng.integers(len(data)))
    noise = rng.integers(0, 256, int(rng.integers(1, 200)), np.uint8).tobytes()
    match rng.integers(7):
        case 0:
            data = data[:at]
        case 1:
            data[at] ^= 1 << int(rng.integers(8))
        case 2:
            data[at : at + len(noise)] = noise
        case 3:
            data[at:at] = noise
        case 4:
            del data[at : at + len(noise)]
        case 5:
            data = data[: int(rng.choice([2, 8, 16, 30]))] + noise
    return compressed(data, str(rng.choice(["jpeg", "png", "rgb8; jpeg compressed bgr8", *FOREIGN])))


@pytest.mark.parametrize("make", [any_raw, any_compressed])
def test_any_message_is_read_or_refused_in_a_line_and_in_time(make):
    rng = np.random.default_rng(7)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(1000):
        message = make(rng)
        started = time.monotonic()
        try:
            rgb = to_rgb(message)
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) < 500
            outcomes["refused"] += 1
        else:
            assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3
            assert make is any_compressed or rgb.shape[:2] == (message.height, message.width)
            outcomes["read"] += 1
        assert time.monotonic() - started < 5.0
    assert min(outcomes.values()) > 200, "else it says little"
