"""What the tests of the dashboard share: a robot that is none, a browser that is none, nodes that listen."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import aiohttp
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from simple_clip_lstm_ros.dashboard.robot import ImageStream
from simple_clip_lstm_ros.dashboard.web_server import WebServer
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.ros.camera_topic import to_image
from simple_clip_lstm_ros.ros.conversions import to_time


class Puppet:
    """Notes what it is asked, and answers as a guard does."""

    def __init__(self) -> None:
        self.image_stream = ImageStream()
        self.viewers = self.pages = 0
        self.told: list[str] = []
        self.enabled: list[bool] = []
        self.reason = "MOVING: following the instruction"

    def snapshot(self) -> dict[str, Any]:
        return {"now": time.monotonic(), "reason": self.reason, "command": (0.0, float("nan"))}

    def set_instruction(self, text: str) -> None:
        if "\0" in text:
            raise InputError("no text")
        self.told.append(text)

    async def set_enabled(self, enabled: bool, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self.enabled.append(enabled)
        await send({"answer": {"node": "velocity_guard", "text": "disabled"}})

    def show(self, source: bytes, shade: int, width: int = 64) -> None:
        self.image_stream.set_image(source, to_image(np.full((48, width, 3), shade, np.uint8), to_time(1.0), "camera"))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def spun(cleanup: ExitStack, name: str, namespace: str, domain: int | None = None) -> Node:
    """A node whose callbacks run in a thread of its own."""
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node(name, context=context, namespace=namespace)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin)
    spinner.start()

    def close() -> None:
        executor.shutdown()
        spinner.join()
        node.destroy_node()
        context.shutdown()

    cleanup.callback(close)
    return node


def at(web: WebServer, path: str = "") -> str:
    """Of the page as seen from this machine, whatever the server listens on."""
    return f"http://127.0.0.1:{web.address.rstrip('/').rpartition(':')[2]}/{path}"


def run(act: Callable[[aiohttp.ClientSession], Awaitable[Any]], **options: Any) -> Any:
    """With a browser: a client that keeps cookies."""

    async def visit() -> Any:
        jar = aiohttp.CookieJar(unsafe=True)  # from addresses too
        async with aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(20), **options) as browser:
            return await asyncio.wait_for(act(browser), 20)  # s; a test that waits for ever has failed

    return asyncio.run(visit())


def status(url: str, **headers: str) -> int:
    async def get(browser: aiohttp.ClientSession) -> int:
        async with browser.get(url, headers=headers) as answer:
            return answer.status

    return run(get)


def until(so: Callable[[], object]) -> None:
    end = time.monotonic() + 5.0
    while not so():
        assert time.monotonic() < end
        time.sleep(0.01)


async def said(socket: aiohttp.ClientWebSocketResponse, kind: str) -> Any:
    """The next message of that kind."""
    while True:
        message = await socket.receive_json()
        if kind in message:
            return message[kind]
