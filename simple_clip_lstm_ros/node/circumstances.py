"""The circumstances of a drive: parameters of the nodes, as they are now, and which bundle drives."""

from __future__ import annotations

import json
from collections import deque

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from simple_clip_lstm_ros.data.alarm import GUARD, INFERENCE
from simple_clip_lstm_ros.node.remote_parameters import RemoteParameters

HASH = "bundle sha256"
_FEW = 8  # of the newest diagnostics: among them are some of each node


class Circumstances:
    """Asks on `ask`, in the background; `facts` is for any thread. A node that does not answer is named as such."""

    def __init__(self, node: Node) -> None:
        self._parameters = {name: RemoteParameters(node, name) for name in (INFERENCE, GUARD)}
        self._diagnostics: deque[bytes] = deque(maxlen=_FEW)

    def ask(self) -> None:
        for each in self._parameters.values():
            each.ask()

    def diagnose(self, message: bytes) -> None:
        """A serialised DiagnosticArray: most are of no interest, and are never read."""
        self._diagnostics.append(message)

    def facts(self) -> dict[str, str]:
        told = {
            f"{name} parameters": "not known: the node did not answer" if values is None else json.dumps(values)
            for name, values in [(name, each.values) for name, each in self._parameters.items()]
        }
        return told | {HASH: self._hash()}

    def _hash(self) -> str:
        for message in reversed([*self._diagnostics]):
            for status in deserialize_message(message, DiagnosticArray).status:
                for pair in status.values:
                    if pair.key == HASH:
                        return pair.value or "not known: the checkpoint is no bundle"
        return "not known: no diagnostics of a configured inference node"
