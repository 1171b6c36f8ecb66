"""The robot as the dashboard knows it: state, newest image, and its enable services."""

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

_SILENT = 2.0  # s without diagnostics, which come twice a second


@dataclass
class NodeStatus:
    """A node that is watched: `inference` or `velocity_guard`."""

    reason: str = ""
    level: int = 0  # as diagnostics count: OK, WARN, ERROR, STALE
    values: Mapping[str, str] = field(default_factory=dict)
    heard_at: float | None = None  # monotonic

    def report(self, level: int, values: Mapping[str, str]) -> None:
        self.level, self.values, self.heard_at = level, values, time.monotonic()

    def present(self) -> dict[str, Any]:
        silent = self.heard_at is None or time.monotonic() - self.heard_at > _SILENT
        return {
            "reason": self.reason,
            "level": self.level,
            "values": dict(self.values),
            "heard_at": self.heard_at,
            "silent": silent,
        }


class RobotState:
    """Written by the executor's thread, read by the web's: what is there is replaced, never changed."""

    def __init__(self) -> None:
        self.inference = NodeStatus()
        self.guard = NodeStatus()
        self._command: tuple[float, ...] | None = None
        self._action: tuple[float, ...] | None = None

    def command(self, velocity: Velocity) -> None:
        self._command = (time.monotonic(), *velocity.as_tuple())

    def action(self, velocity: Velocity) -> None:
        self._action = (time.monotonic(), *velocity.as_tuple())

    def present(self) -> dict[str, Any]:
        """Times in seconds of a clock of its own; velocities in m/s, m/s and rad/s after the time of their arrival."""
        return {
            "now": time.monotonic(),
            "command": self._command,
            "action": self._action,
            "inference": self.inference.present(),
            "guard": self.guard.present(),
        }


OVERLAY, CAMERA = b"o", b"c"
_MAX_WIDTH = 1280  # pixels; a larger picture is halved until it is no wider
_FRESH = 1.0  # s
_QUALITY = 75


class ImageStream:
    """`take` is called by ROS's thread, all else by the web's. Only the newest counts."""

    def __init__(self) -> None:
        self._newest: tuple[int, bytes, Any] | None = None
        self._made: tuple[int, bytes] = (0, b"")
        self._making = asyncio.Lock()
        self._taken_at = 0.0  # monotonic
        self.fault = ""  # of the newest that could not be shown

    def take(self, source: bytes, message: Any) -> None:
        number = self._newest[0] if self._newest else 0
        self._newest = (number + 1, source, message)
        self._taken_at = time.monotonic()

    def has_newer(self, number: int) -> bool:
        """Whether there is one that is no picture of the past, as after a while in which nobody looked."""
        newest = self._newest
        return newest is not None and newest[0] > number and time.monotonic() - self._taken_at < _FRESH

    async def newest(self) -> tuple[int, bytes]:
        """Its number, and its source (one byte) followed by the JPEG; empty if it cannot be shown.

        Only after one was taken.
        """
        async with self._making:
            assert self._newest is not None
            number, source, message = self._newest
            if number != self._made[0]:
                try:
                    self._made = (number, source + await asyncio.to_thread(_jpeg, message))
                    self.fault = ""
                except InputError as error:
                    self._made, self.fault = (number, b""), str(error)
            return self._made


def _jpeg(message: Any) -> bytes:
    image = np.asarray(to_rgb(message))
    while image.shape[1] > _MAX_WIDTH:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return to_jpeg(image, _QUALITY)


_TIMEOUT = 0.5  # s for an answer; a person who has pressed stop must not wait longer for the news that it failed
_ATTEMPTS = 10  # to stop, until there is an answer

Send = Callable[[dict[str, Any]], Awaitable[None]]


class EnableClient:
    """`<name>/enable` of a node."""

    def __init__(self, node: Node, name: str) -> None:
        self._name = name
        self._client = node.create_client(SetBool, f"{name}/enable")

    async def set_enabled(self, enabled: bool, tell: Send) -> None:
        """Ask, and tell the answer or that none came: once to move, to stop again until there is an answer."""
        begin = time.monotonic()
        for attempt in range(1, 2 if enabled else _ATTEMPTS + 1):
            asked = time.monotonic()
            is_there = self._client.service_is_ready()
            answer = await self._ask(enabled) if is_there else None
            told = {"node": self._name, "enabled": enabled, "attempt": attempt, "is_there": is_there}
            if answer is not None:
                told |= {"success": answer.success, "text": answer.message, "seconds": time.monotonic() - begin}
            await tell({"answer": told})
            if answer is not None:
                return
            await asyncio.sleep(max(0.0, asked + _TIMEOUT - time.monotonic()))

    async def _ask(self, enabled: bool) -> SetBool.Response | None:
        answer: Future[SetBool.Response] = Future()
        answer.set_running_or_notify_cancel()  # so that an answer to a question given up harms nobody
        request = self._client.call_async(SetBool.Request(data=enabled))
        request.add_done_callback(lambda done: answer.set_result(done.result()))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), _TIMEOUT)
        except asyncio.TimeoutError:
            return None
        finally:
            self._client.remove_pending_request(request)
