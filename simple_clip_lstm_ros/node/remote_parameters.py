"""The parameters of another node, as they are now."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python

from simple_clip_lstm_ros.node.question import Question


class RemoteParameters:
    """Of the node `name` in this node's namespace. `values` by name; None while it does not answer.

    The first time that it is asked, it tells only what there is; the values follow with the next.
    """

    def __init__(self, node: Node, name: str) -> None:
        self._names = Question(node, ListParameters, f"{name}/list_parameters", lambda answer: [*answer.result.names])
        self._values = Question(node, GetParameters, f"{name}/get_parameters", self._read)
        self._asked: list[str] = []

    @property
    def values(self) -> dict[str, Any] | None:
        return self._values.answer

    def ask(self) -> None:
        if self._names.answer is not None:
            self._asked = self._names.answer
            self._values.ask(GetParameters.Request(names=self._asked))
        self._names.ask(ListParameters.Request())

    def _read(self, answer: GetParameters.Response) -> dict[str, Any]:
        values = [parameter_value_to_python(value) for value in answer.values]
        plain = [[*value] if hasattr(value, "__len__") and not isinstance(value, str) else value for value in values]
        return dict(zip(self._asked, plain, strict=False))
