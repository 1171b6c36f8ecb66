"""The inference node's parameters as a file or a recording states them, without a ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from simple_clip_lstm_ros.errors import ConfigError, first_line

_NODES = ("**", "inference")


def read_ros_params(path: Path) -> dict[str, Any]:
    """Of a ROS parameter file, such as config/inference.yaml, in any namespace. Raises ConfigError."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {first_line(error)}") from None
    found: dict[str, Any] = {}
    for name, section in content.items() if isinstance(content, dict) else ():
        if str(name).split("/")[-1] in _NODES and isinstance(section, dict):
            found |= section.get("ros__parameters") or {}
    if not found:
        raise ConfigError(f"{path} has no ros__parameters of the inference node: name a file as config/inference.yaml")
    return found


def to_number(stated: Mapping[str, Any], name: str, default: float) -> float:
    """Raises ConfigError for what is none."""
    value = stated.get(name, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ConfigError(f"{name} must be a number, not {value!r}")
    return float(value)


def to_numbers(stated: Mapping[str, Any], name: str, default: Sequence[float]) -> tuple[float, ...]:
    """Raises ConfigError for what is no list of them."""
    value = stated.get(name, default)
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{name} must be a list of numbers, not {value!r}")
    return tuple(to_number({name: each}, name, 0.0) for each in value)
