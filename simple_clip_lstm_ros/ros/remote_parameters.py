"""Polling of services and parameters of other nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python


class ServicePoller:
    """Polls a service without blocking.

    `last_response` is `convert(response)` of the last response, or None before the first response and after a missing
    one. For use in the executor's thread only.
    """

    def __init__(self, node: Node, kind: Any, service: str, convert: Callable[[Any], Any]) -> None:
        self._client = node.create_client(kind, service)
        self._convert = convert
        self._pending: Any = None
        self.last_response: Any = None

    def poll(self, request: Any) -> None:
        """Send the next request; drop the previous one if it is still pending."""
        if self._pending is not None:
            self._client.remove_pending_request(self._pending)
            self._pending = self.last_response = None
        if self._client.service_is_ready():
            self._pending = self._client.call_async(request)
            self._pending.add_done_callback(self._on_response)

    def _on_response(self, done: Any) -> None:
        self._pending = None
        self.last_response = self._convert(done.result())


class RemoteParameters:
    """Polls the parameters of the node `name` in this node's namespace.

    `values` maps names to values; it is None while the node does not respond. The first `refresh` requests only the
    names; the second requests the values.
    """

    def __init__(self, node: Node, name: str) -> None:
        self._names = ServicePoller(
            node, ListParameters, f"{name}/list_parameters", lambda response: [*response.result.names]
        )
        self._values = ServicePoller(node, GetParameters, f"{name}/get_parameters", self._to_dict)
        self._requested: list[str] = []

    @property
    def values(self) -> dict[str, Any] | None:
        return self._values.last_response

    def refresh(self) -> None:
        if self._names.last_response is not None:
            self._requested = self._names.last_response
            self._values.poll(GetParameters.Request(names=self._requested))
        self._names.poll(ListParameters.Request())

    def _to_dict(self, response: GetParameters.Response) -> dict[str, Any]:
        values = [parameter_value_to_python(value) for value in response.values]
        plain = [[*value] if hasattr(value, "__len__") and not isinstance(value, str) else value for value in values]
        return dict(zip(self._requested, plain, strict=False))
