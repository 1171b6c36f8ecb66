"""Parameters of a node, defined once in a dataclass.

Declaration, descriptions for `ros2 param describe`, checks at the start and on each change, and documentation derive
from it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import InvalidNamespaceException, InvalidTopicNameException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.validate_namespace import validate_namespace
from rclpy.validate_topic_name import validate_topic_name

from simple_clip_lstm_ros.errors import ConfigError, first_line


@dataclass(frozen=True)
class Range:
    """Range of numbers above `low` and at most `high`."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low < value <= self.high

    def __str__(self) -> str:
        return f"above {self.low:g} and at most {self.high:g}"


def parameter(
    default: Any,
    description: str,
    *choices: str,
    unit: str = "",
    within: Range | str = "",
    live: bool = False,
) -> Any:
    """Return a field of a Parameters class.

    A `within` in words is not checked here; the user of the value must check it. A `live` parameter may change while
    the node drives.
    """
    metadata = {"description": description, "choices": choices, "unit": unit, "within": within, "live": live}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Parameters:
    """Base class of the validated parameters of a node. Raise ConfigError for an invalid value."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value, choices, within = getattr(self, item.name), item.metadata["choices"], item.metadata["within"]
            if choices and value not in choices:
                raise ConfigError(f"{item.name}: {value!r} is not one of {', '.join(choices)}")
            if isinstance(within, Range) and value not in within:
                raise ConfigError(f"{item.name} must be {within}, not {value}")


P = TypeVar("P", bound=Parameters)


def declare_parameters(node: Node, kind: type[P], *, read_only: bool) -> None:
    """Declare all parameters of `kind`; if `read_only`, those that are not live cannot change."""
    for item in fields(kind):
        # Dynamic typing accepts `command_rate: 20` in a file; `read_parameters` checks the type. With ROS's own range,
        # an invalid file would end the node with a traceback, before an error in one line is possible.
        descriptor = ParameterDescriptor(
            description=_format_description(item),
            additional_constraints=_format_range(item),
            dynamic_typing=True,
            read_only=read_only and not item.metadata["live"],
        )
        # ROS has no typed empty array, so such a parameter starts unset.
        is_unset = item.default == ()
        node.declare_parameter(item.name, None if is_unset else item.default, descriptor)


def read_parameters(node: Node, kind: type[P], changes: Sequence[Parameter] = ()) -> P:
    """Return the node's parameters, with `changes`. Raise ConfigError for an invalid type or value."""
    given = {item.name: node.get_parameter(item.name).value for item in fields(kind)}
    given |= {change.name: change.value for change in changes if change.name in given}
    return kind(
        **{
            item.name: item.default if given[item.name] is None else _convert(item, given[item.name])
            for item in fields(kind)
        }
    )


def check_live(kind: type[P], changes: Sequence[Parameter]) -> bool:
    """Return whether any of `changes` concerns `kind`. Raise ConfigError for a parameter that is not live."""
    is_live = {item.name: item.metadata["live"] for item in fields(kind)}
    changed = [change.name for change in changes if change.name in is_live]
    for name in changed:
        if not is_live[name]:
            raise ConfigError(f"{name} takes effect at configure: deactivate and clean up first")
    return bool(changed)


def check_not_deleted(kind: type[P], changes: Sequence[Parameter]) -> None:
    """Raise ConfigError if `changes` delete a parameter of `kind`: its default would apply silently."""
    for change in changes:
        if change.type_ is Parameter.Type.NOT_SET and change.name in {item.name for item in fields(kind)}:
            raise ConfigError(f"{change.name} cannot be deleted; set a value instead")


def check_topic(name: str, topic: str) -> None:
    """Raise ConfigError if the value of the parameter `name` is not a valid topic name."""
    try:
        validate_topic_name(topic)
    except InvalidTopicNameException as error:
        raise ConfigError(f"{name}: {first_line(error)}") from None


def to_markdown(kind: type[P], *, beyond: type[Parameters] = Parameters) -> str:
    """Return a Markdown table of the parameters, without those of the base class `beyond`."""
    inherited = {item.name for item in fields(beyond)}
    rows = [f"| {' | '.join(_row(item))} |" for item in fields(kind) if item.name not in inherited]
    return "\n".join(["| parameter | default | unit | range | live | meaning |", "|---|---|---|---|---|---|", *rows])


def _row(item: Field[Any]) -> tuple[str, ...]:
    live = "yes" if item.metadata["live"] else ""
    unit, meaning = item.metadata["unit"], item.metadata["description"]
    return f"`{item.name}`", _format_default(item.default), unit, _format_range(item), live, meaning


def _format_default(default: Any) -> str:
    if default in ("", ()):
        return "unset"
    if isinstance(default, bool):
        return f"`{default}`".lower()
    return f"`{list(default) if isinstance(default, tuple) else default}`"


def _format_range(item: Field[Any]) -> str:
    return ", ".join(item.metadata["choices"]) or str(item.metadata["within"])


def _format_description(item: Field[Any]) -> str:
    unit = item.metadata["unit"]
    return item.metadata["description"] + (f" [{unit}]" if unit else "")


def _convert(item: Field[Any], value: Any) -> Any:
    kind = str(item.type)
    element = kind.removeprefix("tuple[").removesuffix(", ...]")
    is_list = element != kind
    items = value if isinstance(value, (list, tuple, array)) else (value,)
    if is_list != (items is value) or not all(_is_of_type(element, item) for item in items):
        raise ConfigError(f"{item.name}: {value!r} is not a {'list of ' if is_list else ''}{element}")
    converted = tuple(float(item) if element == "float" else item for item in items)
    return converted if is_list else converted[0]


def _is_of_type(element: str, value: Any) -> bool:
    if element == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if element == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, {"str": str, "bool": bool}[element])


class ConfiguredNode(Node, Generic[P]):
    """Node with the validated parameters `settings`, of the class `kind`.

    `given` and a `namespace` that is not None override ROS's arguments. Raise ConfigError for an invalid value.
    """

    def __init__(self, name: str, kind: type[P], given: Mapping[str, object], namespace: str | None) -> None:
        try:
            validate_namespace("/" + (namespace or "").lstrip("/"))
        except InvalidNamespaceException as error:
            raise ConfigError(f"namespace: {first_line(error)}") from None
        overrides = [Parameter(key, value=value) for key, value in given.items()]
        super().__init__(name, namespace=namespace, parameter_overrides=overrides)
        declare_parameters(self, kind, read_only=True)
        self.settings = read_parameters(self, kind)
