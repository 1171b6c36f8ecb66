"""Read the inference node's parameters from a file or a recording, without ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from simple_clip_lstm_ros.errors import ConfigError, first_line

_NODES = ("**", "inference")


def read_ros_params(path: Path) -> dict[str, Any]:
    """Read a ROS parameter file, such as config/inference.yaml, in any namespace. Raise ConfigError."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {first_line(error)}") from None
    parameters: dict[str, Any] = {}
    for name, section in content.items() if isinstance(content, dict) else ():
        if str(name).split("/")[-1] in _NODES and isinstance(section, dict):
            parameters |= section.get("ros__parameters") or {}
    if not parameters:
        raise ConfigError(f"{path} has no ros__parameters of the inference node: name a file as config/inference.yaml")
    return parameters


def to_number(parameters: Mapping[str, Any], name: str, default: float) -> float:
    """Return a parameter as a number. Raise ConfigError if it is not one."""
    value = parameters.get(name, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ConfigError(f"{name} must be a number, not {value!r}")
    return float(value)


def to_numbers(parameters: Mapping[str, Any], name: str, default: Sequence[float]) -> tuple[float, ...]:
    """Return a parameter as a list of numbers. Raise ConfigError if it is not one."""
    value = parameters.get(name, default)
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{name} must be a list of numbers, not {value!r}")
    return tuple(to_number({name: each}, name, 0.0) for each in value)
