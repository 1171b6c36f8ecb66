"""A service that is asked now and then, and whose last answer is at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node


class Question:
    """`answer` is what `read` makes of the last response; None before the first, and once one has failed to come.

    Of the executor's thread.
    """

    def __init__(self, node: Node, kind: Any, service: str, read: Callable[[Any], Any]) -> None:
        self._client = node.create_client(kind, service)
        self._read = read
        self._pending: Any = None
        self.answer: Any = None

    def ask(self, request: Any) -> None:
        """Once more; whoever has not answered the last time by now does not answer."""
        if self._pending is not None:
            self._client.remove_pending_request(self._pending)
            self._pending = self.answer = None
        if self._client.service_is_ready():
            self._pending = self._client.call_async(request)
            self._pending.add_done_callback(self._on_answer)

    def _on_answer(self, done: Any) -> None:
        self._pending = None
        self.answer = self._read(done.result())
