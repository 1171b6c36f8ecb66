"""Services as the dashboard uses them: switches that are turned by hand, and questions asked again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from rclpy.node import Node
from std_srvs.srv import SetBool

_PATIENCE = 0.5  # s for an answer; a person who has pressed stop must not wait longer for the news that it failed
_ATTEMPTS = 10  # to stop, until there is an answer

Tell = Callable[[dict[str, Any]], Awaitable[None]]


class Switch:
    """`<name>/enable` of a node."""

    def __init__(self, node: Node, name: str) -> None:
        self._name = name
        self._client = node.create_client(SetBool, f"{name}/enable")

    async def turn(self, enabled: bool, tell: Tell) -> None:
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
            await asyncio.sleep(max(0.0, asked + _PATIENCE - time.monotonic()))

    async def _ask(self, enabled: bool) -> SetBool.Response | None:
        answer: Future[SetBool.Response] = Future()
        answer.set_running_or_notify_cancel()  # so that an answer to a question given up harms nobody
        request = self._client.call_async(SetBool.Request(data=enabled))
        request.add_done_callback(lambda done: answer.set_result(done.result()))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), _PATIENCE)
        except asyncio.TimeoutError:
            return None
        finally:
            self._client.remove_pending_request(request)


class Question:
    """What a service answers to the same request; None while it does not. Of the executor's thread."""

    def __init__(self, node: Node, kind: Any, service: str, request: Any, read: Callable[[Any], Any]) -> None:
        self._client = node.create_client(kind, service)
        self._request = request
        self._read = read
        self._pending: Any = None
        self.answer: Any = None

    def ask(self) -> None:
        """Once more; whoever has not answered the last time by now does not answer."""
        if self._pending is not None:
            self._client.remove_pending_request(self._pending)
            self._pending = self.answer = None
        if self._client.service_is_ready():
            self._pending = self._client.call_async(self._request)
            self._pending.add_done_callback(self._on_answer)

    def _on_answer(self, done: Any) -> None:
        self._pending = None
        self.answer = self._read(done.result())
