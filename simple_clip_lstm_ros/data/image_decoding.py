"""Decode Image and CompressedImage messages to RGB, and encode RGB as JPEG; no other module does.

Messages are recognized by their fields, not by their classes, which differ between bags and topics.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any, NamedTuple

import cv2
import numpy as np

from simple_clip_lstm_ros.errors import InputError, first_line, printable


class _PixelFormat(NamedTuple):
    """The memory layout of an encoding, and OpenCV's conversion to RGB."""

    width: int  # bytes per pixel in a row
    conversion: int | None
    bridged: bool = False  # cv_bridge (Humble and later) knows this name and gives the same pixels
    samples: int = 8  # bits
    block: tuple[int, int] = (1, 1)  # pixels that share their color, horizontally and vertically


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
_DEPTH = ("16UC1", "32FC1")  # also prefixes of image_transport's formats
_MAX_PIXELS = 2**25  # more than 8K; a header of a few bytes can declare billions

_JPEG, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"IEND\xaeB`\x82"


def _bridge(numpy: str = np.__version__) -> Any:
    """Return cv_bridge's converter, or None if it is missing or unusable.

    It is built for NumPy 1. Under NumPy 2 its import prints a traceback and may still succeed, but without the NumPy
    functions that its conversions call, which then crashes the process: so do not import it.
    """
    if int(numpy.split(".")[0]) > 1:
        return None
    try:
        importlib.import_module("cv_bridge.boost.cv_bridge_boost")  # CvBridge itself imports it only to convert
        return importlib.import_module("cv_bridge").CvBridge()
    except Exception:  # an incompatible binary raises ImportError, AttributeError or SystemError
        return None


_BRIDGE = _bridge()
READER = "NumPy and OpenCV" if _BRIDGE is None else "cv_bridge"


def to_rgb(message: Any) -> np.ndarray:
    """Return an Image or CompressedImage as uint8 [height, width, 3] in RGB.

    The result may share the message's memory. Raise InputError for a message that cannot be decoded.
    """
    compressed = not hasattr(message, "encoding")
    encoding = message.format if compressed else message.encoding
    if encoding.startswith(_DEPTH):
        raise InputError(f"{_quote(encoding)} is a depth image, not a picture: remap to the colour camera's topic")
    try:
        return _decompress(message) if compressed else _convert(message)
    except cv2.error as error:
        raise InputError(f"OpenCV cannot read this {_quote(encoding)} image: {first_line(error)}") from None


def _quote(name: str) -> str:
    return f"'{printable(name[:40])}'"


def _convert(message: Any) -> np.ndarray:
    pixel_format = _PIXEL_FORMATS.get(message.encoding)
    if pixel_format is None:
        known = ", ".join(_PIXEL_FORMATS)
        raise InputError(f"image encoding {_quote(message.encoding)} is not one of {known}: set the driver to one")
    pixels = _pixels(message, pixel_format)
    # cv_bridge assumes rows of whole pixels, and its byte swap does not work with NumPy 2.
    if (
        _BRIDGE is not None
        and pixel_format.bridged
        and message.step % pixel_format.width == 0
        and not message.is_bigendian
    ):
        with contextlib.suppress(Exception):  # OpenCV converts below if cv_bridge cannot
            return _BRIDGE.imgmsg_to_cv2(message, "rgb8")
    rgb = pixels if pixel_format.conversion is None else cv2.cvtColor(pixels, pixel_format.conversion)
    return rgb if rgb.dtype == np.uint8 else cv2.convertScaleAbs(rgb, alpha=255 / 65535)


def _pixels(message: Any, pixel_format: _PixelFormat) -> np.ndarray:
    """Return the pixels in OpenCV's layout, without row padding; 8-bit data is not copied."""
    height, width, step, (block_width, block_height) = message.height, message.width, message.step, pixel_format.block
    if not height or not width:
        raise InputError(f"an image of {width} x {height} pixels: look at the camera's driver")
    if width % block_width or height % block_height:
        sides = "width and height" if block_height > 1 else "width"
        raise InputError(f"{message.encoding} needs an even {sides}, and {width} x {height} is not: set another size")
    if step < width * pixel_format.width:
        row = f"an image row of {step} bytes (step)"
        raise InputError(f"{row} is too short for {width} pixels of {message.encoding}: look at the camera's driver")
    # The chroma plane of nv12 and nv21 follows the luma plane, in rows of the same step.
    rows = height * 3 // 2 if block_height > 1 else height
    data = np.frombuffer(message.data, np.uint8)
    # Some drivers append extra bytes. But if all bytes divide evenly into longer rows, the step must be wrong.
    if data.size < rows * step or (data.size > rows * step and data.size % rows == 0):
        raise InputError(f"{data.size} image bytes where {rows} rows of {step} are announced: look at the driver")
    pixels = data[: rows * step].reshape(rows, step)[:, : width * pixel_format.width]
    if pixel_format.samples == 16:
        pixels = (
            np.ascontiguousarray(pixels).view(">u2" if message.is_bigendian else "<u2").astype(np.uint16, copy=False)
        )
    return pixels.reshape(rows, width, -1) if pixels.shape[1] > width else pixels


def _decompress(message: Any) -> np.ndarray:
    data = bytes(message.data)
    described = f"a compressed image ({_quote(message.format)}, {len(data)} bytes)"
    if data.startswith(_JPEG):
        # OpenCV fills missing data with gray, so require an end marker after the last scan. A thumbnail has both, too.
        end = data.rfind(_JPEG_END)
        is_complete, (width, height) = end >= 0 and data.find(_JPEG_SCAN, end) < 0, _jpeg_size(data)
    elif data.startswith(_PNG):
        is_complete, width, height = data.rfind(_PNG_END) >= 0, _number(data[16:20]), _number(data[20:24])
    else:
        raise InputError(f"{described} is neither JPEG nor PNG: set the camera's image_transport to one of them")
    if not is_complete:
        raise InputError(f"{described} is cut off: look at the camera's connection and driver")
    if not 0 < width * height <= _MAX_PIXELS:
        raise InputError(f"{described} of {width} x {height} pixels: its size is missing, or more than {_MAX_PIXELS}")
    # Use the camera's pixels as they are; ignore the EXIF orientation.
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise InputError(f"{described} that OpenCV cannot decode: look at the camera's connection and driver")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Return width and height from the frame header, as the decoder does; (0, 0) if it is misplaced."""
    offset = len(_JPEG)
    for _ in range(1000):
        mark, marker = data[offset : offset + 1], data[offset + 1 : offset + 2]
        # Stop at a marker that may not precede the frame header.
        if mark != b"\xff" or marker < b"\xc0" or b"\xd0" <= marker <= b"\xda":
            break
        if marker not in b"\xc4\xc8\xcc" and marker <= b"\xcf":
            return _number(data[offset + 7 : offset + 9]), _number(data[offset + 5 : offset + 7])
        offset += 1 if marker == b"\xff" else 2 + _number(data[offset + 2 : offset + 4])
    return 0, 0


def to_jpeg(rgb: np.ndarray, quality: int = 95) -> bytes:
    """Encode uint8 [height, width, 3] in RGB as JPEG; `quality` from 0 to 100."""
    return cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
