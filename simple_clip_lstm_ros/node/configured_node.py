"""A node whose parameters hold from its start: from ROS's arguments, or from a command that starts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic

from rclpy.exceptions import InvalidNamespaceException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.validate_namespace import validate_namespace

from simple_clip_lstm_ros.errors import ConfigError, first_line
from simple_clip_lstm_ros.node import parameters
from simple_clip_lstm_ros.node.parameters import Kind


class ConfiguredNode(Node, Generic[Kind]):
    """`settings` are of the class `kind`. `given`, and a `namespace` that is not None, win over ROS's arguments.

    Raises ConfigError for what is not allowed.
    """

    def __init__(self, name: str, kind: type[Kind], given: Mapping[str, object], namespace: str | None) -> None:
        try:
            validate_namespace("/" + (namespace or "").lstrip("/"))
        except InvalidNamespaceException as error:
            raise ConfigError(f"namespace: {first_line(error)}") from None
        overrides = [Parameter(key, value=value) for key, value in given.items()]
        super().__init__(name, namespace=namespace, parameter_overrides=overrides)
        parameters.declare(self, kind, fixed=True)
        self.settings = parameters.read(self, kind)
