"""Images as cameras really send them, and as broken ones do."""

from __future__ import annotations

import array
import struct
import zlib

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image

pytestmark = pytest.mark.ros


def pixels(image):
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)


def with_pixels(image, encoding, values, padding=0):
    rows = values.reshape(image.height, -1)
    padded = np.pad(rows, ((0, 0), (0, padding)))
    data = array.array("B", padded.tobytes())
    message = Image(height=image.height, width=image.width, encoding=encoding, step=padded.shape[1], data=data)
    message.header = image.header
    return message


def bgr8(image):
    return with_pixels(image, "bgr8", pixels(image)[:, :, ::-1])


def mono8(image):
    return with_pixels(image, "mono8", pixels(image)[:, :, 1])


def padded(image):
    return with_pixels(image, "rgb8", pixels(image), padding=32)


def unstamped(image):
    image.header.stamp = Time()
    return image


def compressed(image, kind=".jpg"):
    message = CompressedImage(header=image.header, format=kind.strip("."))
    message.data = array.array("B", cv2.imencode(kind, pixels(image)[:, :, ::-1])[1].tobytes())
    return message


@pytest.mark.parametrize("form", [bgr8, mono8, padded, unstamped], ids=lambda form: form.__name__)
def test_it_drives_on_images_of_many_forms(bench, form):
    bench.camera = lambda: form(bench.photograph())
    bench.activate()
    bench.instruct("go to the cup")
    bench.until_reason("MOVING")
    bench.until(lambda: "images refused" in bench.diagnostics, "diagnostics of the drive")
    assert bench.diagnostics["images refused"] == "0"


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_it_drives_on_compressed_images(bench, kind):
    bench.camera = lambda: compressed(bench.photograph(), kind)
    bench.activate(image_transport="compressed")
    bench.instruct("go to the cup")
    bench.until_reason("MOVING")


def test_it_drives_on_another_image_topic(bench):
    front = bench.probe.create_publisher(Image, "front/color", 1)
    bench.camera = lambda: front.publish(bench.photograph())
    bench.activate(image_topic="front/color")
    bench.instruct("go to the cup")
    bench.until_reason("MOVING")
    bench.probe.destroy_publisher(front)


def test_the_same_pixels_give_the_same_action_in_every_form(bench):
    bench.activate(image_timeout=10.0, command_timeout=10.0, state_timeout=0.01)
    bench.told("go to the cup")
    image = bench.photograph()
    actions = set()
    for age, form in ((6.0, lambda image: image), (4.0, bgr8), (2.0, padded)):
        image.header.stamp = bench.now(age)
        actions.add(bench.step(form(image))["action"])
    assert len(actions) == 1
    assert bench.step()["action"] not in actions, "another photograph"


def test_an_image_from_the_future_is_refused(bench):
    bench.camera = lambda: bench.photograph(age=-5.0)
    bench.activate()
    bench.instruct("go to the cup")
    bench.until(lambda: int(bench.diagnostics.get("images refused", 0)) > 5, "refused images")
    bench.until_reason("NO_IMAGE")
    assert not bench.has_moved()
    assert "it is from the future" in bench.process.log


def test_an_old_image_does_not_move_it(bench):
    bench.camera = lambda: bench.photograph(age=1.0)
    bench.activate()
    bench.instruct("go to the cup")
    bench.until_reason("IMAGE_STALE")
    bench.until(lambda: int(bench.diagnostics.get("actions", 0)) > 5, "actions")
    assert not bench.has_moved()


def chunk(kind, held):
    """Of a PNG."""
    return struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))


HUGE = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
BROKEN = {
    "unknown encoding": Image(height=2, width=2, encoding="jpeg!", step=6, data=bytes(12)),
    "no encoding": Image(height=2, width=2, step=6, data=bytes(12)),
    "empty": Image(encoding="rgb8"),
    "too few bytes": Image(height=480, width=640, encoding="rgb8", step=1920, data=bytes(100)),
    "short rows": Image(height=2, width=2, encoding="rgb8", step=5, data=bytes(12)),
    "huge": Image(height=2**32 - 1, width=2**32 - 1, encoding="mono8", step=2**32 - 1, data=bytes(12)),
    "odd width of paired pixels": Image(height=2, width=3, encoding="yuv422", step=6, data=bytes(12)),
}
BROKEN_COMPRESSED = {
    "nothing": b"",
    "noise": bytes(range(256)),
    "half a JPEG": cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()[:100],
    "a PNG that announces 100000 x 100000 pixels": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", HUGE)
    + chunk(b"IDAT", bytes(9)),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_image_is_counted_and_the_next_good_one_moves_the_robot(bench, broken):
    refused_then_moves(bench, broken, bench.photograph)


@pytest.mark.parametrize("data", BROKEN_COMPRESSED.values(), ids=list(BROKEN_COMPRESSED))
def test_a_broken_compressed_image_is_counted_and_the_next_good_one_moves_the_robot(bench, data):
    broken = CompressedImage(format="jpeg", data=data)
    refused_then_moves(bench, broken, lambda: compressed(bench.photograph()), image_transport="compressed")


def refused_then_moves(bench, broken, good, **parameters):
    broken.header.stamp = Time()
    bench.camera = lambda: broken
    bench.activate(**parameters)
    bench.instruct("go to the cup")
    bench.until(lambda: int(bench.diagnostics.get("images refused", 0)) > 0, "a refused image")
    bench.until_reason("NO_IMAGE")
    assert not bench.has_moved()
    bench.camera = good
    bench.until_reason("MOVING")
