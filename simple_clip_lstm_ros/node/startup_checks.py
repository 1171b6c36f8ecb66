"""Checks of a loaded model, and warnings for the user before the robot moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from simple_clip_lstm_ros.node.inference_parameters import InferenceParameters
from simple_clip_lstm_ros.policy.ablation import ablate, ignored_inputs, num_passes
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.sample_images import sample_crops

# An action is one step old at its arrival and must last until the next: two steps, plus a margin for the transport of
# the image and for steps longer than the measured one.
_COMMAND_TIMEOUT_STEPS = 2.5
_FRAMES = 2  # for the check of ignored inputs
_TIMEOUT = 4.0  # s, longest duration of this check


def find_ignored_inputs(policy: Policy, latency: float, on_step: Callable[[], None]) -> list[str] | None:
    """Return which of image, instruction and memory the policy ignores; None if unchecked.

    It is unchecked if the steps would take too long. `latency` is the duration of a step in s; `on_step` is called
    after each step.
    """
    if latency * _FRAMES * num_passes(short=True) > _TIMEOUT:
        return None
    return ignored_inputs(ablate(policy, list(sample_crops(_FRAMES)), short=True, stepped=on_step))


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
        yield f"this model ignores {' and '.join(ignored_inputs)}; `simple_clip_lstm sensitivity` tells more"
    if config.reductions:
        yield f"the model is cut: {config.reductions}; its actions are not those of the whole model"
    needed = _COMMAND_TIMEOUT_STEPS * latency
    if needed > current.command_timeout:
        needed = math.ceil(needed * 10.0) / 10.0
        speed = max(abs(v) for v in (*current.max_velocity[:2], *current.min_velocity[:2]))
        yield (
            f"a step takes {latency:.2f} s and actions go stale after {current.command_timeout:g} s: set "
            f"command_timeout to {needed:g}; the robot then drives up to {speed * needed:.2f} m blind"
        )
