"""The parameters of the inference node, and the warnings that follow from them and a loaded policy."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from simple_clip_lstm_ros.engine.linear_backends import ENGINES
from simple_clip_lstm_ros.engine.precision import PRECISIONS
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.ros import parameters
from simple_clip_lstm_ros.ros.camera_topic import CameraParameters
from simple_clip_lstm_ros.ros.motion_parameters import MotionParameters
from simple_clip_lstm_ros.ros.parameters import Range, parameter

# An action is one step old at its arrival and must last until the next: two steps, plus a margin for the transport of
# the image and for steps longer than the measured one.
_COMMAND_TIMEOUT_STEPS = 2.5


@dataclass(frozen=True)
class InferenceParameters(CameraParameters, MotionParameters):
    """Validated parameters of the inference node. Raise ConfigError for an invalid value."""

    checkpoint: str = parameter("", "the .pth file or bundle to load, or builtin:tiny; there is no default")
    processors: str = parameter(
        "", "Kosmos-2 and CLIP processors; empty: in the folder inside or next to the checkpoint"
    )
    policy_config: str = parameter("", "YAML file of PolicyConfig settings that win over the checkpoint's")
    device: str = parameter("auto", "auto, cpu, cuda or cuda:N")
    precision: str = parameter("auto", "of the encoders", *PRECISIONS)
    engine: str = parameter("auto", "how the encoders are computed", *ENGINES)
    allow_untrained: bool = parameter(False, "let random weights move the robot: for demo and tests only")
    instruction: str = parameter(
        "", "text at activation; empty: stand until one arrives on the topic instruction", live=True
    )
    memory_budget_gb: float = parameter(
        0.0,
        "refuse to load what would take more; 0: what the machine has",
        unit="GB",
        within="0 or more",
    )
    image_timeout: float = parameter(
        0.5, "newest image older than this: zero at once", unit="s", within=Range(0.0, 60.0), live=True
    )
    command_timeout: float = parameter(
        0.5,
        "newest action older than this, from its image's stamp: zero at once",
        unit="s",
        within=Range(0.0, 60.0),
        live=True,
    )
    state_timeout: float = parameter(
        2.0, "image gap after which the hidden state is reset", unit="s", within=Range(0.0, 3600.0), live=True
    )
    action_axes: tuple[str, ...] = parameter((), "axis of each model output; unset: as the checkpoint says")
    action_scale: tuple[float, ...] = parameter((), "factor of each model output; unset: as the checkpoint says")
    action_offset: tuple[float, ...] = parameter((), "added to each scaled output; unset: as the checkpoint says")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_against_rate("image_timeout", "command_timeout")
        if not self.checkpoint:
            raise ConfigError("checkpoint is empty; set it to the .pth file or bundle to load (there is no default)")

    @property
    def action_overrides(self) -> dict[str, Any]:
        """Return the PolicyConfig settings of these parameters: axes, scale and offset of actions."""
        names = ("action_axes", "action_scale", "action_offset")
        return {name: list(getattr(self, name)) for name in names if getattr(self, name)}


def read_parameters(node: Node, changes: Sequence[Parameter] = ()) -> InferenceParameters:
    """Return the node's parameters, with `changes`. Raise ConfigError for an invalid value."""
    found = parameters.read_parameters(node, InferenceParameters, changes)
    # No shell expands the ~ of `checkpoint:=~/model.pth`.
    paths = {name: os.path.expanduser(getattr(found, name)) for name in ("checkpoint", "processors", "policy_config")}
    return replace(found, **paths)


def startup_warnings(
    current: InferenceParameters, policy: Policy, latency: float, ignored_inputs: Sequence[str] | None
) -> Iterator[str]:
    """Yield warnings as sentences. `latency` is the duration of a step in s."""
    config = policy.config
    if config.untrained:
        moves = "the robot moves on them" if current.allow_untrained else "the robot will not move"
        yield f"the weights are untrained (random): {moves}"
    if config.assumed:
        yield (
            f"neither the checkpoint nor policy_config states {', '.join(config.assumed)}; "
            "`simple_clip_lstm inspect` shows what is assumed instead"
        )
    if ignored_inputs:
        yield f"this model ignores {' and '.join(ignored_inputs)}; run `simple_clip_lstm sensitivity` for details"
    if config.reductions:
        yield f"the model is pruned: {config.reductions}; its actions differ from the whole model's"
    needed = _COMMAND_TIMEOUT_STEPS * latency
    if needed > current.command_timeout:
        needed = math.ceil(needed * 10.0) / 10.0
        speed = max(abs(v) for v in (*current.max_velocity[:2], *current.min_velocity[:2]))
        yield (
            f"a step takes {latency:.2f} s and actions go stale after {current.command_timeout:g} s: set "
            f"command_timeout to {needed:g}; the robot then drives up to {speed * needed:.2f} m blind"
        )
