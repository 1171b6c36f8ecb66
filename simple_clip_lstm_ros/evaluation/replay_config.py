"""The node's parameters that a replay uses, from a bag or from a ROS parameter file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.errors import ConfigError, first_line

_TIMES = ("command_rate", "image_timeout", "command_timeout", "state_timeout")
_MAX_LATENCY = 60.0  # s

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


@dataclass(frozen=True)
class ReplayConfig:
    """The node's parameters that affect a replay, in the node's units; `latency` is that of a step, in s.

    Raise ConfigError for invalid values.
    """

    limits: Limits = field(default_factory=Limits)
    command_rate: float = 20.0
    image_timeout: float = 0.5
    command_timeout: float = 0.5
    state_timeout: float = 2.0
    latency: float = 0.0

    def __post_init__(self) -> None:
        for name in ("command_rate", "state_timeout"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be a positive number, not {getattr(self, name):g}")
        if not 0.0 <= self.latency <= _MAX_LATENCY:
            raise ConfigError(f"latency must be from 0 to {_MAX_LATENCY:g} s, not {self.latency:g}")

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any], latency: float) -> ReplayConfig:
        """Create a config from the node's parameters, with its defaults for missing ones. Raise ConfigError."""
        default_limits, defaults = Limits(), cls(latency=latency)
        limits = {
            item.name: to_numbers(parameters, item.name, getattr(default_limits, item.name))
            for item in fields(default_limits)
        }
        times = {name: to_number(parameters, name, getattr(defaults, name)) for name in _TIMES}
        return replace(defaults, limits=Limits(**limits), **times)
