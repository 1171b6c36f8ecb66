"""The one place that reads frames, Image and CompressedImage to RGB, and that makes JPEGs of them.

Messages are known by their fields, not by their classes: those of a bag are others than those of a topic.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any, NamedTuple

import cv2
import numpy as np

from simple_clip_lstm_ros.errors import InputError, first_line, printable


class _PixelFormat(NamedTuple):
    """How an encoding lies in memory, and OpenCV's conversion to RGB."""

    width: int  # bytes of a pixel in its row
    conversion: int | None
    bridged: bool = False  # cv_bridge, from Humble on, gives the same pixels; not all names are known to it
    samples: int = 8  # bits
    block: tuple[int, int] = (1, 1)  # pixels that share their colour, across and down


# OpenCV names Bayer patterns by the second row's pixels, ROS by the first row's. cv_bridge knows rgb8, but copies it.
_PIXEL_FORMATS = {
    "rgb8": _PixelFormat(3, None),
    "bgr8": _PixelFormat(3, cv2.COLOR_BGR2RGB, bridged=True),
    "8UC3": _PixelFormat(3, cv2.COLOR_BGR2RGB),
    "rgba8": _PixelFormat(4, cv2.COLOR_RGBA2RGB, bridged=True),
    "bgra8": _PixelFormat(4, cv2.COLOR_BGRA2RGB, bridged=True),
    "8UC4": _PixelFormat(4, cv2.COLOR_BGRA2RGB),
    "rgb16": _PixelFormat(6, None, bridged=True, samples=16),
    "bgr16": _PixelFormat(6, cv2.COLOR_BGR2RGB, bridged=True, samples=16),
    "mono8": _PixelFormat(1, cv2.COLOR_GRAY2RGB, bridged=True),
    "8UC1": _PixelFormat(1, cv2.COLOR_GRAY2RGB),
    "mono16": _PixelFormat(2, cv2.COLOR_GRAY2RGB, bridged=True, samples=16),
    "bayer_rggb8": _PixelFormat(1, cv2.COLOR_BayerBG2RGB, bridged=True),
    "bayer_bggr8": _PixelFormat(1, cv2.COLOR_BayerRG2RGB, bridged=True),
    "bayer_gbrg8": _PixelFormat(1, cv2.COLOR_BayerGR2RGB, bridged=True),
    "bayer_grbg8": _PixelFormat(1, cv2.COLOR_BayerGB2RGB, bridged=True),
    "yuv422": _PixelFormat(2, cv2.COLOR_YUV2RGB_UYVY, bridged=True, block=(2, 1)),
    "uyvy": _PixelFormat(2, cv2.COLOR_YUV2RGB_UYVY, block=(2, 1)),
    "yuv422_yuy2": _PixelFormat(2, cv2.COLOR_YUV2RGB_YUYV, bridged=True, block=(2, 1)),
    "yuyv": _PixelFormat(2, cv2.COLOR_YUV2RGB_YUYV, block=(2, 1)),
    "nv12": _PixelFormat(1, cv2.COLOR_YUV2RGB_NV12, block=(2, 2)),
    "nv21": _PixelFormat(1, cv2.COLOR_YUV2RGB_NV21, block=(2, 2)),
}
_DEPTH = ("16UC1", "32FC1")  # also how image_transport's formats begin
_MAX_PIXELS = 2**25  # more than 8K has; a few bytes can announce thousands of millions

_JPEG, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"IEND\xaeB`\x82"


def _bridge(numpy: str = np.__version__) -> Any:
    """cv_bridge's converter, or None where it is absent or cannot work.

    It is built for NumPy 1. Under NumPy 2 its import prints a traceback and may yet succeed, with none of NumPy's
    functions that its conversions call: that ends the process, so it is not even tried.
    """
    if int(numpy.split(".")[0]) > 1:
        return None
    try:
        importlib.import_module("cv_bridge.boost.cv_bridge_boost")  # which CvBridge itself imports only to convert
        return importlib.import_module("cv_bridge").CvBridge()
    except Exception:  # an unfit binary raises ImportError, AttributeError or SystemError
        return None


_BRIDGE = _bridge()
READER = "NumPy and OpenCV" if _BRIDGE is None else "cv_bridge"


def to_rgb(message: Any) -> np.ndarray:
    """uint8 [height, width, 3] in RGB of an Image or CompressedImage; it may share the message's memory.

    Raises InputError for what it cannot read.
    """
    compressed = not hasattr(message, "encoding")
    kind = message.format if compressed else message.encoding
    if kind.startswith(_DEPTH):
        raise InputError(f"{_find_format(kind)} is a depth image, not a picture: remap to the colour camera's topic")
    try:
        return _decompress(message) if compressed else _convert(message)
    except cv2.error as error:
        raise InputError(f"OpenCV cannot read this {_find_format(kind)} image: {first_line(error)}") from None


def _find_format(name: str) -> str:
    return f"'{printable(name[:40])}'"


def _convert(message: Any) -> np.ndarray:
    layout = _PIXEL_FORMATS.get(message.encoding)
    if layout is None:
        known = ", ".join(_PIXEL_FORMATS)
        raise InputError(
            f"image encoding {_find_format(message.encoding)} is not one of {known}: set the driver to one"
        )
    pixels = _pixels(message, layout)
    # cv_bridge takes rows for whole pixels, and its way to swap bytes ends with NumPy 1.
    if _BRIDGE is not None and layout.bridged and message.step % layout.width == 0 and not message.is_bigendian:
        with contextlib.suppress(Exception):  # what it cannot do, OpenCV below can
            return _BRIDGE.imgmsg_to_cv2(message, "rgb8")
    rgb = pixels if layout.conversion is None else cv2.cvtColor(pixels, layout.conversion)
    return rgb if rgb.dtype == np.uint8 else cv2.convertScaleAbs(rgb, alpha=255 / 65535)


def _pixels(message: Any, layout: _PixelFormat) -> np.ndarray:
    """The message's bytes as OpenCV takes them, without the padding at the end of each row; eight bits uncopied."""
    height, width, step, (across, down) = message.height, message.width, message.step, layout.block
    if not height or not width:
        raise InputError(f"an image of {width} x {height} pixels: look at the camera's driver")
    if width % across or height % down:
        sides = "width and height" if down > 1 else "width"
        raise InputError(f"{message.encoding} needs an even {sides}, and {width} x {height} is not: set another size")
    if step < width * layout.width:
        row = f"an image row of {step} bytes (step)"
        raise InputError(f"{row} is too short for {width} pixels of {message.encoding}: look at the camera's driver")
    rows = height * 3 // 2 if down > 1 else height  # the colour of nv12 and nv21 lies below, in rows of the same step
    data = np.frombuffer(message.data, np.uint8)
    # Some drivers append bytes that belong to no row. Yet where all divide into longer rows, the step must be wrong.
    if data.size < rows * step or (data.size > rows * step and data.size % rows == 0):
        raise InputError(f"{data.size} image bytes where {rows} rows of {step} are announced: look at the driver")
    cells = data[: rows * step].reshape(rows, step)[:, : width * layout.width]
    if layout.samples == 16:
        cells = np.ascontiguousarray(cells).view(">u2" if message.is_bigendian else "<u2").astype(np.uint16, copy=False)
    return cells.reshape(rows, width, -1) if cells.shape[1] > width else cells


def _decompress(message: Any) -> np.ndarray:
    data = bytes(message.data)
    told = f"a compressed image ({_find_format(message.format)}, {len(data)} bytes)"
    if data.startswith(_JPEG):
        # OpenCV paints what is missing grey. The last scan must have an end, and a thumbnail has its own of both.
        end = data.rfind(_JPEG_END)
        whole, (width, height) = end >= 0 and data.find(_JPEG_SCAN, end) < 0, _jpeg_size(data)
    elif data.startswith(_PNG):
        whole, width, height = data.rfind(_PNG_END) >= 0, _number(data[16:20]), _number(data[20:24])
    else:
        raise InputError(f"{told} is neither JPEG nor PNG: set the camera's image_transport to one of them")
    if not whole:
        raise InputError(f"{told} is cut off: look at the camera's connection and driver")
    if not 0 < width * height <= _MAX_PIXELS:
        raise InputError(f"{told} of {width} x {height} pixels: its size is missing, or more than {_MAX_PIXELS}")
    # The camera's pixels count, whatever an EXIF tag says of the way up.
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise InputError(f"{told} that OpenCV cannot decode: look at the camera's connection and driver")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height as the decoder finds them, in the frame header; (0, 0) where it is not where it belongs."""
    at = len(_JPEG)
    for _ in range(1000):
        mark, marker = data[at : at + 1], data[at + 1 : at + 2]
        if mark != b"\xff" or marker < b"\xc0" or b"\xd0" <= marker <= b"\xda":  # nothing that may come before it
            break
        if marker not in b"\xc4\xc8\xcc" and marker <= b"\xcf":
            return _number(data[at + 7 : at + 9]), _number(data[at + 5 : at + 7])
        at += 1 if marker == b"\xff" else 2 + _number(data[at + 2 : at + 4])
    return 0, 0


def to_jpeg(rgb: np.ndarray, quality: int = 95) -> bytes:
    """Of uint8 [height, width, 3] in RGB; `quality` from 0 to 100."""
    return cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
