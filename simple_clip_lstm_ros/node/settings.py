"""The parameters of the inference node: each is described once, here."""

from __future__ import annotations

import os
from array import array
from dataclasses import Field, dataclass, field, fields
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.validate_topic_name import validate_topic_name

from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.engine.precision import PRECISIONS
from simple_clip_lstm_ros.errors import ConfigError, first_line

_LIMITS = Limits()


def _parameter(default: Any, description: str, *choices: str) -> Any:
    return field(default=default, metadata={"description": description, "choices": choices})


_PATHS = ("checkpoint", "processors", "policy_config")


@dataclass(frozen=True)
class Settings:
    """Values of all parameters, checked. Raises ConfigError."""

    checkpoint: str = _parameter("", "the .pth file or bundle to load; there is no default")
    processors: str = _parameter(
        "", "Kosmos-2 and CLIP processors; empty: in the folder inside or beside the checkpoint"
    )
    policy_config: str = _parameter("", "YAML file of PolicyConfig settings that win over the checkpoint's")
    device: str = _parameter("auto", "auto, cpu, cuda or cuda:N")
    precision: str = _parameter("auto", "of the encoders", *PRECISIONS)
    engine: str = _parameter("auto", "how the model runs", "auto", "eager")
    allow_untrained: bool = _parameter(False, "let random weights move the robot: for demo and tests only")
    image_topic: str = _parameter("image_raw", "camera topic")
    image_transport: str = _parameter("raw", "compressed subscribes to <image_topic>/compressed", "raw", "compressed")
    instruction: str = _parameter("", "text at activation; empty: stand until one arrives on the topic instruction")
    memory_budget_gb: float = _parameter(0.0, "GB; refuse to load what would take more; 0: what the machine has")
    image_timeout: float = _parameter(0.5, "s; newest image older than this: zero at once")
    command_timeout: float = _parameter(0.5, "s; newest action older than this, from its image's stamp: zero at once")
    state_timeout: float = _parameter(2.0, "s; image gap after which the hidden state is reset")
    command_rate: float = _parameter(20.0, "Hz; rate of the velocity commands, whatever the model does")
    max_velocity: tuple[float, ...] = _parameter(_LIMITS.max_velocity, "m/s, m/s, rad/s; upper limits")
    min_velocity: tuple[float, ...] = _parameter(_LIMITS.min_velocity, "m/s, m/s, rad/s; lower limits")
    max_accel: tuple[float, ...] = _parameter(_LIMITS.max_accel, "m/s², m/s², rad/s²; when speeding up")
    max_decel: tuple[float, ...] = _parameter(_LIMITS.max_decel, "m/s², m/s², rad/s²; when slowing down, negative")
    deadband_velocity: tuple[float, ...] = _parameter(_LIMITS.deadband_velocity, "m/s, m/s, rad/s; slower is zero")
    action_axes: tuple[str, ...] = _parameter((), "axis of each model output; unset: as the checkpoint says")
    action_scale: tuple[float, ...] = _parameter((), "factor of each model output; unset: as the checkpoint says")
    action_offset: tuple[float, ...] = _parameter((), "added to each scaled output; unset: as the checkpoint says")
    enable_stamped_cmd_vel: bool = _parameter(False, "publish TwistStamped instead of Twist")
    frame_id: str = _parameter("base_link", "frame of stamped velocities")

    def __post_init__(self) -> None:
        for item in fields(self):
            choices = item.metadata["choices"]
            if choices and getattr(self, item.name) not in choices:
                raise ConfigError(f"{item.name}: {getattr(self, item.name)!r} is not one of {', '.join(choices)}")
        if not self.checkpoint:
            raise ConfigError("checkpoint is empty; set it to the .pth file or bundle to load (there is no default)")
        for name, most in (("command_rate", 1000.0), ("state_timeout", 3600.0)):
            if not 0.0 < getattr(self, name) <= most:
                raise ConfigError(f"{name} must be above 0 and at most {most:g}, not {getattr(self, name)}")

        try:
            validate_topic_name(self.image_topic)
        except InvalidTopicNameException as error:
            raise ConfigError(f"image_topic: {first_line(error)}") from None

    @property
    def limits(self) -> Limits:
        return Limits(*(getattr(self, item.name) for item in fields(Limits)))

    @property
    def action_overrides(self) -> dict[str, Any]:
        """What these parameters say about the actions, as PolicyConfig settings."""
        names = ("action_axes", "action_scale", "action_offset")
        return {name: list(getattr(self, name)) for name in names if getattr(self, name)}


NAMES = tuple(item.name for item in fields(Settings))


def table() -> str:
    """The parameters as a Markdown table, for the documentation."""
    rows = [f"| `{item.name}` | {_shown(item.default)} | {_described(item)} |" for item in fields(Settings)]
    return "\n".join(["| parameter | default | meaning |", "|---|---|---|", *rows])


def _shown(default: Any) -> str:
    if default in ("", ()):
        return "unset"
    if isinstance(default, bool):
        return f"`{default}`".lower()
    return f"`{list(default) if isinstance(default, tuple) else default}`"


def _described(item: Field[Any]) -> str:
    choices = item.metadata["choices"]
    return item.metadata["description"] + (f" ({', '.join(choices)})" if choices else "")


def declare(node: Node) -> None:
    """Declare every parameter, with its description for `ros2 param describe`."""
    for item in fields(Settings):
        # Dynamic typing, so that `command_rate: 20` in a file is a number and not a crash; `read` checks the type.
        descriptor = ParameterDescriptor(
            description=item.metadata["description"],
            additional_constraints=", ".join(item.metadata["choices"]),
            dynamic_typing=True,
        )
        # ROS has no value for an empty array of a type: such a parameter starts without one.
        unset = item.default == ()
        node.declare_parameter(item.name, None if unset else item.default, descriptor)


def read(node: Node) -> Settings:
    """The parameters as they stand. Raises ConfigError for one of the wrong type or value."""
    values: dict[str, Any] = {}
    for item in fields(Settings):
        value = node.get_parameter(item.name).value
        values[item.name] = item.default if value is None else _converted(item.name, str(item.type), value)
    # No shell expands the ~ in `checkpoint:=~/model.pth`.
    return Settings(**values | {name: os.path.expanduser(values[name]) for name in _PATHS})


def _converted(name: str, kind: str, value: Any) -> Any:
    element = kind.removeprefix("tuple[").removesuffix(", ...]")
    is_list = element != kind
    items = value if isinstance(value, (list, tuple, array)) else (value,)
    if is_list != (items is value) or not all(_is(element, item) for item in items):
        raise ConfigError(f"{name}: {value!r} is not a {'list of ' if is_list else ''}{element}")
    converted = tuple(float(item) if element == "float" else item for item in items)
    return converted if is_list else converted[0]


def _is(element: str, value: Any) -> bool:
    if element == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, {"str": str, "bool": bool}[element])
