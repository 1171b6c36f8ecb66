"""Poll services of other nodes, and their parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python


class ServicePoller:
    """`answer` is what `read` makes of the last response; None before the first, and once one has failed to come.

    Of the executor's thread.
    """

    def __init__(self, node: Node, kind: Any, service: str, read: Callable[[Any], Any]) -> None:
        self._client = node.create_client(kind, service)
        self._read = read
        self._pending: Any = None
        self.last_response: Any = None

    def poll(self, request: Any) -> None:
        """Once more; whoever has not answered the last time by now does not answer."""
        if self._pending is not None:
            self._client.remove_pending_request(self._pending)
            self._pending = self.last_response = None
        if self._client.service_is_ready():
            self._pending = self._client.call_async(request)
            self._pending.add_done_callback(self._on_answer)

    def _on_answer(self, done: Any) -> None:
        self._pending = None
        self.last_response = self._read(done.result())


class RemoteParameters:
    """Of the node `name` in this node's namespace. `values` by name; None while it does not answer.

    The first time that it is asked, it tells only what there is; the values follow with the next.
    """

    def __init__(self, node: Node, name: str) -> None:
        self._names = ServicePoller(
            node, ListParameters, f"{name}/list_parameters", lambda response: [*response.result.names]
        )
        self._values = ServicePoller(node, GetParameters, f"{name}/get_parameters", self._read)
        self._asked: list[str] = []

    @property
    def values(self) -> dict[str, Any] | None:
        return self._values.last_response

    def refresh(self) -> None:
        if self._names.last_response is not None:
            self._asked = self._names.last_response
            self._values.poll(GetParameters.Request(names=self._asked))
        self._names.poll(ListParameters.Request())

    def _read(self, response: GetParameters.Response) -> dict[str, Any]:
        values = [parameter_value_to_python(value) for value in response.values]
        plain = [[*value] if hasattr(value, "__len__") and not isinstance(value, str) else value for value in values]
        return dict(zip(self._asked, plain, strict=False))
