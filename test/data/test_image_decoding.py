"""Camera messages to RGB: golden pixels, computed here, for our own reader; and cv_bridge, where it imports, agrees."""

from __future__ import annotations

import array
import itertools
import struct
import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from simple_clip_lstm_ros.data import image_decoding
from simple_clip_lstm_ros.data.image_decoding import to_rgb

HEIGHT, WIDTH = 6, 8
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
ALPHA = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)
COLORS = [(200, 90, 30), (10, 250, 120), (128, 128, 128)]
DEEP = np.random.default_rng(2).integers(0, 2**16, (HEIGHT, WIDTH, 3)).astype(np.uint16)
SHALLOW = ((DEEP.astype(int) + 128) // 257).astype(np.uint8)  # 65535 is 255 x 257
BRIDGED = [encoding for encoding, layout in image_decoding._PIXEL_FORMATS.items() if layout.bridged]


@pytest.fixture(autouse=True)
def without_cv_bridge(monkeypatch):
    monkeypatch.setattr(image_decoding, "_BRIDGE", None)


def message(encoding, pixels, padding=0, size=(HEIGHT, WIDTH), is_bigendian=0):
    """Of rows of pixels, whatever bytes they have."""
    rows = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8).reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    image = Image(height=size[0], width=size[1], encoding=encoding, step=padded.shape[1], is_bigendian=is_bigendian)
    image.data = array.array("B", padded.tobytes())
    return image


def compressed(data, kind="jpeg"):
    return CompressedImage(format=kind, data=array.array("B", bytes(data)))


def encoded(kind, pixels, *options):
    return cv2.imencode(kind, pixels, options)[1].tobytes()


def uniform(color):
    return np.full((HEIGHT, WIDTH, 3), color, np.uint8)


COLORED = {
    "rgb8": RGB,
    "bgr8": RGB[:, :, ::-1],
    "8UC3": RGB[:, :, ::-1],
    "rgba8": np.concatenate([RGB, ALPHA], axis=2),
    "bgra8": np.concatenate([RGB[:, :, ::-1], ALPHA], axis=2),
    "8UC4": np.concatenate([RGB[:, :, ::-1], ALPHA], axis=2),
}


def test_colour_comes_out_exactly():
    """A single byte has no order."""
    wrong = []
    for encoding, padding, is_bigendian in itertools.product(COLORED, (0, 12, 1), (0, 1)):
        sent = message(encoding, COLORED[encoding], padding, is_bigendian=is_bigendian)
        if not np.array_equal(to_rgb(sent), RGB):
            wrong.append((encoding, f"padding {padding}", f"is_bigendian {is_bigendian}"))
    assert not wrong


def test_odd_sizes_come_out_exactly():
    sent = {encoding: message(encoding, pixels[:5, :7], size=(5, 7)) for encoding, pixels in COLORED.items()}
    assert not [encoding for encoding, each in sent.items() if not np.array_equal(to_rgb(each), RGB[:5, :7])]


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_becomes_three_equal_channels(encoding, padding):
    rgb = to_rgb(message(encoding, RGB[:5, :7, 0], padding, size=(5, 7)))
    assert np.array_equal(rgb, np.repeat(RGB[:5, :7, :1], 3, axis=2))


@pytest.mark.parametrize("padding", [0, 5, 6])
@pytest.mark.parametrize("is_bigendian", [0, 1, 2])
@pytest.mark.parametrize(
    ("encoding", "deep", "expected"),
    [
        ("mono16", DEEP[:, :, 0], np.repeat(SHALLOW[:, :, :1], 3, axis=2)),
        ("rgb16", DEEP, SHALLOW),
        ("bgr16", DEEP[:, :, ::-1], SHALLOW),
    ],
)
def test_sixteen_bits_are_scaled_to_eight(encoding, deep, expected, is_bigendian, padding):
    rgb = to_rgb(message(encoding, deep.astype(">u2" if is_bigendian else "<u2"), padding, is_bigendian=is_bigendian))
    assert rgb.dtype == np.uint8
    assert np.array_equal(rgb, expected)


def test_every_value_of_sixteen_bits_is_rounded_to_the_nearest():
    values = np.arange(2**16).reshape(256, 256)
    rgb = to_rgb(message("mono16", values.astype("<u2"), size=(256, 256)))
    assert np.array_equal(rgb[:, :, 0], (values + 128) // 257)


# The names tell the pixels from the top left on, row by row.
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_give_back_the_colour_that_they_sampled(pattern):
    wrong = []
    for color, padding, (height, width) in itertools.product(COLORS, (0, 5), ((HEIGHT, WIDTH), (5, 7))):
        value = dict(zip("rgb", color, strict=True))
        tile = np.array([[value[pattern[0]], value[pattern[1]]], [value[pattern[2]], value[pattern[3]]]], np.uint8)
        mosaic = np.tile(tile, (HEIGHT // 2, WIDTH // 2))[:height, :width]
        rgb = to_rgb(message(f"bayer_{pattern}8", mosaic, padding, size=(height, width)))
        if not np.array_equal(rgb, uniform(color)[:height, :width]):
            wrong.append((color, f"padding {padding}", f"{width} x {height}"))
    assert not wrong


def to_yuv(rgb):
    """BT.601 in video range, as cameras send it."""
    red, green, blue = np.moveaxis(rgb / 255, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    blue_difference, red_difference = (blue - luma) / 1.772, (red - luma) / 1.402
    planes = (16 + 219 * luma, 128 + 224 * blue_difference, 128 + 224 * red_difference)
    return [plane.round().astype(np.uint8) for plane in planes]


@pytest.mark.parametrize("padding", [0, 4, 5])
@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21"])
def test_yuv_gives_back_colours_in_their_places(encoding, padding):
    """Each 2 x 2 pixels have a colour of their own."""
    colors = RGB[: HEIGHT // 2, : WIDTH // 2]
    y, u, v = to_yuv(colors)
    if encoding.startswith("nv"):
        chroma = np.stack([u, v] if encoding == "nv12" else [v, u], axis=-1).reshape(HEIGHT // 2, WIDTH)
        rows = np.concatenate([y.repeat(2, axis=0).repeat(2, axis=1), chroma])
    else:
        order = [u, y, v, y] if encoding in ("yuv422", "uyvy") else [y, u, y, v]
        rows = np.stack(order, axis=-1).repeat(2, axis=0)
    rgb = to_rgb(message(encoding, rows, padding))
    assert rgb.shape == RGB.shape
    expected = colors.repeat(2, axis=0).repeat(2, axis=1)
    assert np.abs(rgb.astype(int) - expected).max() <= 3, "eight bits of YUV hold no more"


@pytest.mark.parametrize("form", [".png", ".jpg"])
def test_compressed_images_are_decoded_whatever_their_format_is_called(form):
    kinds = ("jpeg", "png", "", "rgb8; jpeg compressed bgr8", "bgr8; png compressed ", "?\n")
    wrong = []
    for color, kind in itertools.product(COLORS, kinds):
        rgb = to_rgb(compressed(encoded(form, uniform(color)[:, :, ::-1]), kind))
        is_near = rgb.shape == (HEIGHT, WIDTH, 3) and np.abs(rgb.astype(int) - color).max() <= (4 * (form == ".jpg"))
        if not is_near:
            wrong.append((color, kind))
    assert not wrong


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (RGB[:, :, 0], np.repeat(RGB[:, :, :1], 3, axis=2)),
        (np.concatenate([RGB[:, :, ::-1], ALPHA], axis=2), RGB),
        (RGB[:, :, ::-1].astype(np.uint16) * 257, RGB),
        (RGB[:, :, 0].astype(np.uint16) * 257, np.repeat(RGB[:, :, :1], 3, axis=2)),
    ],
    ids=["grey", "alpha", "16 bits", "grey of 16 bits"],
)
def test_every_form_of_png_becomes_rgb(pixels, expected):
    assert np.array_equal(to_rgb(compressed(encoded(".png", pixels))), expected)


def with_segment(jpeg, held):
    """EXIF's, after the first two bytes."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(held) + 2) + held + jpeg[2:]


def test_pixels_stay_where_the_camera_put_them_whatever_exif_says():
    jpeg = encoded(".jpg", uniform(COLORS[0]))
    turned = with_segment(jpeg, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (WIDTH, HEIGHT, 3), "else no proof"
    assert np.array_equal(to_rgb(compressed(turned)), to_rgb(compressed(jpeg)))


@pytest.mark.parametrize(
    "form",
    [
        lambda jpeg: jpeg + bytes(1000),
        lambda jpeg: jpeg + jpeg[len(jpeg) // 2 :],
        lambda jpeg: with_segment(jpeg, b"Exif\0\0" + encoded(".jpg", uniform(COLORS[1]))),
        lambda jpeg: jpeg[:2] + b"\xff\xff" + jpeg[2:],
    ],
    ids=["zeros after it", "the end of the last one after it", "a thumbnail in it", "fill bytes"],
)
def test_whole_jpegs_are_read_as_cameras_wrap_them(form):
    jpeg = encoded(".jpg", uniform(COLORS[0]))
    assert np.array_equal(to_rgb(compressed(form(jpeg))), to_rgb(compressed(jpeg)))


def test_a_progressive_jpeg_is_read():
    jpeg = encoded(".jpg", uniform(COLORS[0])[:, :, ::-1], cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert np.abs(to_rgb(compressed(jpeg)).astype(int) - COLORS[0]).max() <= 4


@pytest.mark.parametrize("padding", [0, 12])
def test_an_image_is_not_copied_without_need(padding):
    image = message("rgb8", RGB, padding)
    assert np.shares_memory(to_rgb(image), np.frombuffer(image.data, np.uint8))


def of_another_class(message, data):
    """With the same fields and no more, as readers of bags make them."""
    fields = {name: getattr(message, name) for name in message.get_fields_and_field_types() if name != "header"}
    return SimpleNamespace(**fields | {"data": data(message.data)})


def numpy_read_only(data):
    return np.frombuffer(bytes(data), np.uint8)


@pytest.mark.parametrize("data", [bytes, np.array, numpy_read_only], ids=lambda data: data.__name__)
@pytest.mark.parametrize(
    "image",
    [
        message("rgb8", RGB),
        message("bgr8", RGB[:, :, ::-1], padding=5),
        message("mono16", DEEP[:, :, 0].astype(">u2"), is_bigendian=1),
        message("nv12", np.repeat(RGB[:, :, 0], 2, axis=0)[: HEIGHT * 3 // 2]),
        compressed(encoded(".png", RGB[:, :, ::-1]), "png"),
        compressed(encoded(".jpg", uniform(COLORS[0]))),
    ],
    ids=lambda image: getattr(image, "encoding", "compressed"),
)
def test_messages_of_a_bag_are_read_as_those_of_a_topic(image, data):
    assert np.array_equal(to_rgb(of_another_class(image, data)), to_rgb(image))


def test_an_image_of_a_bag_is_not_copied_without_need():
    pixels = np.frombuffer(RGB.tobytes(), np.uint8)
    assert np.shares_memory(to_rgb(of_another_class(message("rgb8", RGB), lambda _: pixels)), pixels)


class StandIn:
    """cv_bridge's interface."""

    answer: object = RGB

    def imgmsg_to_cv2(self, image, encoding):
        assert encoding == "rgb8"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("image", "asked"),
    [
        (message(encoding, np.zeros((HEIGHT, WIDTH * image_decoding._PIXEL_FORMATS[encoding].width), np.uint8)), True)
        for encoding in BRIDGED
    ]
    + [
        (message("rgb8", np.zeros_like(RGB)), False),
        (message("8UC3", np.zeros_like(RGB)), False),
        (message("yuyv", np.zeros((HEIGHT, WIDTH * 2), np.uint8)), False),
        (message("nv12", np.zeros((HEIGHT * 3 // 2, WIDTH), np.uint8)), False),
        (message("bgr8", np.zeros_like(RGB), padding=3), True),
        (message("bgr8", np.zeros_like(RGB), padding=4), False),
        (message("mono16", np.zeros((HEIGHT, WIDTH * 2), np.uint8), is_bigendian=1), False),
    ],
    ids=lambda value: f"{value.encoding} {value.step} {value.is_bigendian}" if isinstance(value, Image) else "",
)
def test_cv_bridge_is_asked_for_what_it_reads_rightly(image, asked, monkeypatch):
    monkeypatch.setattr(image_decoding, "_BRIDGE", StandIn())
    assert (to_rgb(image) is RGB) == asked


@pytest.mark.parametrize("error", [TypeError("CvBridgeError is one"), RuntimeError("Boost's"), ImportError("late")])
def test_what_cv_bridge_refuses_is_read_all_the_same(error, monkeypatch):
    monkeypatch.setattr(image_decoding, "_BRIDGE", StandIn())
    monkeypatch.setattr(StandIn, "answer", error)
    assert np.array_equal(to_rgb(message("bgr8", RGB[:, :, ::-1])), RGB)


@pytest.mark.parametrize(
    ("numpy", "lacking", "found"),
    [
        ("1.21.5", None, True),
        ("1.26.4", None, True),
        ("2.0.0", None, False),
        ("1.26.4", "cv_bridge", False),
        ("1.26.4", "cv_bridge.boost.cv_bridge_boost", False),
    ],
)
def test_cv_bridge_is_used_where_it_works(numpy, lacking, found, monkeypatch):
    for name in ("cv_bridge", "cv_bridge.boost", "cv_bridge.boost.cv_bridge_boost"):
        module = ModuleType(name)
        module.CvBridge = StandIn
        monkeypatch.setitem(sys.modules, name, None if name == lacking else module)
    assert isinstance(image_decoding._bridge(numpy), StandIn) == found


def test_a_cv_bridge_whose_binary_fails_is_not_used(monkeypatch):
    def fails():
        raise SystemError("initialization of cv_bridge_boost raised unreported exception")

    monkeypatch.setitem(sys.modules, "cv_bridge.boost.cv_bridge_boost", ModuleType("cv_bridge_boost"))
    monkeypatch.setitem(sys.modules, "cv_bridge", ModuleType("cv_bridge"))
    sys.modules["cv_bridge"].CvBridge = fails
    assert image_decoding._bridge("1.26.4") is None


@pytest.mark.skipif(image_decoding._BRIDGE is None, reason="cv_bridge does not import here")
@pytest.mark.parametrize("encoding", BRIDGED)
def test_cv_bridge_reads_the_same(encoding, monkeypatch):
    width = image_decoding._PIXEL_FORMATS[encoding].width
    pixels = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH * width), np.uint8)
    ours = to_rgb(message(encoding, pixels, padding=width))
    monkeypatch.undo()
    theirs = image_decoding._BRIDGE.imgmsg_to_cv2(message(encoding, pixels, padding=width), "rgb8")
    assert np.abs(ours.astype(int) - theirs).max() <= 1, "as far as two versions of OpenCV round"
