"""The robot's state, newest image and enable services, for the dashboard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node
from std_srvs.srv import SetBool

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.data.image_decoding import to_jpeg, to_rgb
from simple_clip_lstm_ros.errors import InputError

_SILENCE_TIMEOUT = 2.0  # s without diagnostics, which come twice a second


@dataclass
class NodeStatus:
    """State of a monitored node: `inference` or `velocity_guard`."""

    reason: str = ""
    level: int = 0  # of diagnostics: 0 OK, 1 WARN, 2 ERROR, 3 STALE
    values: Mapping[str, str] = field(default_factory=dict)
    heard_at: float | None = None  # monotonic

    def on_diagnostics(self, level: int, values: Mapping[str, str]) -> None:
        """Store level and values of a diagnostics message that arrives now."""
        self.level, self.values, self.heard_at = level, values, time.monotonic()

    def snapshot(self) -> dict[str, Any]:
        silent = self.heard_at is None or time.monotonic() - self.heard_at > _SILENCE_TIMEOUT
        return {
            "reason": self.reason,
            "level": self.level,
            "values": dict(self.values),
            "heard_at": self.heard_at,
            "silent": silent,
        }


class RobotState:
    """State of the robot, written in the executor's thread and read in the web server's.

    Values are replaced and never changed in place, so that no lock is needed.
    """

    def __init__(self) -> None:
        self.inference = NodeStatus()
        self.guard = NodeStatus()
        self._command: tuple[float, ...] | None = None
        self._action: tuple[float, ...] | None = None

    def on_command(self, velocity: Velocity) -> None:
        self._command = (time.monotonic(), *velocity.as_tuple())

    def on_action(self, velocity: Velocity) -> None:
        self._action = (time.monotonic(), *velocity.as_tuple())

    def snapshot(self) -> dict[str, Any]:
        """Return the state as JSON-compatible values.

        Times are in seconds of the monotonic clock; `command` and `action` are (arrival, x m/s, y m/s, yaw rad/s).
        """
        return {
            "now": time.monotonic(),
            "command": self._command,
            "action": self._action,
            "inference": self.inference.snapshot(),
            "guard": self.guard.snapshot(),
        }


OVERLAY, CAMERA = b"o", b"c"
_MAX_WIDTH = 1280  # pixels; a wider image is halved until it fits
_MAX_AGE = 1.0  # s
_QUALITY = 75


class ImageStream:
    """Encodes the newest image as JPEG.

    `set_image` is called in the executor's thread, all else in the web server's thread.
    """

    def __init__(self) -> None:
        self._newest: tuple[int, bytes, Any] | None = None
        self._encoded: tuple[int, bytes] = (0, b"")
        self._encoding = asyncio.Lock()
        self._arrival = 0.0  # monotonic, s
        self.fault = ""  # why the newest image could not be decoded

    def set_image(self, source: bytes, message: Any) -> None:
        """Set the newest image: an Image or CompressedImage from OVERLAY or CAMERA."""
        number = self._newest[0] if self._newest else 0
        self._newest = (number + 1, source, message)
        self._arrival = time.monotonic()

    def has_newer(self, number: int) -> bool:
        """Return whether there is an image after `number` that arrived within the last second.

        An older one may be left from a time without viewers.
        """
        newest = self._newest
        return newest is not None and newest[0] > number and time.monotonic() - self._arrival < _MAX_AGE

    async def encode_newest(self) -> tuple[int, bytes]:
        """Return the newest image's number, and its source (one byte) plus JPEG.

        The bytes are b"" if it cannot be decoded. `set_image` must have been called before.
        """
        async with self._encoding:
            assert self._newest is not None
            number, source, message = self._newest
            if number != self._encoded[0]:
                try:
                    self._encoded = (number, source + await asyncio.to_thread(_jpeg, message))
                    self.fault = ""
                except InputError as error:
                    self._encoded, self.fault = (number, b""), str(error)
            return self._encoded


def _jpeg(message: Any) -> bytes:
    image = np.asarray(to_rgb(message))
    while image.shape[1] > _MAX_WIDTH:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return to_jpeg(image, _QUALITY)


_TIMEOUT = 0.5  # s for a response; who has pressed stop must learn of a failure within this time
_STOP_ATTEMPTS = 10  # until there is a response

Send = Callable[[dict[str, Any]], Awaitable[None]]


class EnableClient:
    """Client of a node's service `<name>/enable`."""

    def __init__(self, node: Node, name: str) -> None:
        self._name = name
        self._client = node.create_client(SetBool, f"{name}/enable")

    async def set_enabled(self, enabled: bool, send: Send) -> None:
        """Call the service and `send` the response, or that none came.

        Enabling is tried once; disabling is repeated up to 10 times until there is a response.
        """
        begin = time.monotonic()
        for attempt in range(1, 2 if enabled else _STOP_ATTEMPTS + 1):
            attempt_begin = time.monotonic()
            is_ready = self._client.service_is_ready()
            response = await self._call(enabled) if is_ready else None
            answer = {"node": self._name, "enabled": enabled, "attempt": attempt, "is_there": is_ready}
            if response is not None:
                answer |= {"success": response.success, "text": response.message, "seconds": time.monotonic() - begin}
            await send({"answer": answer})
            if response is not None:
                return
            await asyncio.sleep(max(0.0, attempt_begin + _TIMEOUT - time.monotonic()))

    async def _call(self, enabled: bool) -> SetBool.Response | None:
        response: Future[SetBool.Response] = Future()
        response.set_running_or_notify_cancel()  # otherwise a response after the timeout would raise
        request = self._client.call_async(SetBool.Request(data=enabled))
        request.add_done_callback(lambda done: response.set_result(done.result()))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(response), _TIMEOUT)
        except asyncio.TimeoutError:
            return None
        finally:
            self._client.remove_pending_request(request)
