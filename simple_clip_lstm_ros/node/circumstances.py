"""The circumstances of a drive: parameters of the nodes, as they are now, and which bundle drives."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.serialization import deserialize_message

from simple_clip_lstm_ros.data.alarm import GUARD, INFERENCE
from simple_clip_lstm_ros.node.question import Question

HASH = "bundle sha256"
_FEW = 8  # of the newest diagnostics: among them are some of each node


class Circumstances:
    """Asks on `ask`, in the background; `facts` is for any thread. A node that does not answer is named as such."""

    def __init__(self, node: Node) -> None:
        self._parameters = {name: _Parameters(node, name) for name in (INFERENCE, GUARD)}
        self._diagnostics: deque[bytes] = deque(maxlen=_FEW)

    def ask(self) -> None:
        for each in self._parameters.values():
            each.ask()

    def diagnose(self, message: bytes) -> None:
        """A serialised DiagnosticArray: most are of no interest, and are never read."""
        self._diagnostics.append(message)

    def facts(self) -> dict[str, str]:
        return {f"{name} parameters": str(each) for name, each in self._parameters.items()} | {HASH: self._hash()}

    def _hash(self) -> str:
        for message in reversed([*self._diagnostics]):
            for status in deserialize_message(message, DiagnosticArray).status:
                for pair in status.values:
                    if pair.key == HASH:
                        return pair.value or "not known: the checkpoint is no bundle"
        return "not known: no diagnostics of a configured inference node"


class _Parameters:
    def __init__(self, node: Node, name: str) -> None:
        self._names = Question(node, ListParameters, f"{name}/list_parameters", lambda answer: answer.result.names)
        self._values = Question(node, GetParameters, f"{name}/get_parameters", self._read)

    def __str__(self) -> str:
        """As JSON."""
        values = self._values.answer
        return "not known: the node did not answer" if values is None else json.dumps(values)

    def ask(self) -> None:
        self._names.ask(ListParameters.Request())
        if self._names.answer is not None:
            self._asked = [*self._names.answer]
            self._values.ask(GetParameters.Request(names=self._asked))

    def _read(self, answer: GetParameters.Response) -> dict[str, Any]:
        values = [parameter_value_to_python(value) for value in answer.values]
        plain = [[*value] if hasattr(value, "__len__") and not isinstance(value, str) else value for value in values]
        return dict(zip(self._asked, plain, strict=False))
