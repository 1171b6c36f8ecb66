"""The services that stop the robot and let it go, as a person in front of a page turns them."""

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
