"""The one place that reads frames: Image and CompressedImage to RGB."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from simple_clip_lstm_ros.errors import InputError

try:
    from cv_bridge import CvBridge, CvBridgeError
except (ImportError, AttributeError):  # absent, or built for another NumPy
    CvBridge = None

# encoding: (bytes a pixel, OpenCV's conversion to RGB). Bayer names differ: OpenCV names the second row's pixels.
_ENCODINGS = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUYV),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}

READER = "NumPy and OpenCV" if CvBridge is None else "cv_bridge"


def to_rgb(message: Image | CompressedImage) -> np.ndarray:
    """uint8 [height, width, 3] in RGB; it may share the message's memory. Raises InputError for what it cannot read."""
    try:
        return _decompressed(message) if isinstance(message, CompressedImage) else _converted(message)
    except cv2.error as error:
        kind = message.format if isinstance(message, CompressedImage) else message.encoding
        raise InputError(f"OpenCV cannot read this {kind} image: {error.err or error}") from None


def _converted(message: Image) -> np.ndarray:
    if message.encoding not in _ENCODINGS:
        raise InputError(f"image encoding {message.encoding!r} is not one of {', '.join(_ENCODINGS)}")
    pixels = _pixels(message, _ENCODINGS[message.encoding][0])
    if CvBridge is not None:
        try:
            return CvBridge().imgmsg_to_cv2(message, "rgb8")
        except CvBridgeError as error:
            raise InputError(f"cv_bridge cannot convert a {message.encoding} image: {error}") from None
    conversion = _ENCODINGS[message.encoding][1]
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)


def _pixels(message: Image, channels: int) -> np.ndarray:
    """The message's bytes as [height, width, channels] without the padding at the end of each row, uncopied."""
    height, width, step = message.height, message.width, message.step
    if not height or not width:
        raise InputError(f"an image of {width} x {height} pixels")
    if step < width * channels:
        raise InputError(f"an image row of {step} bytes is too short for {width} pixels of {message.encoding}")
    data = np.frombuffer(message.data, np.uint8)
    if data.size < height * step:
        raise InputError(f"an image of {data.size} bytes where {height} rows of {step} are announced")
    rows = data[: height * step].reshape(height, step)[:, : width * channels]
    return rows.reshape(height, width, channels) if channels > 1 else rows


def _decompressed(message: CompressedImage) -> np.ndarray:
    data = np.frombuffer(message.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise InputError(f"a compressed image ({message.format!r}, {data.size} bytes) that OpenCV cannot decode")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
