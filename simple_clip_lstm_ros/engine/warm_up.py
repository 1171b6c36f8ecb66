"""The first steps of a policy are slow (kernels are chosen, memory is allocated): take them before the robot waits."""

from __future__ import annotations

import numpy as np

from simple_clip_lstm_ros.errors import CheckpointError
from simple_clip_lstm_ros.policy.policy import Policy

# Any frame and any text take the same way through the model.
_FRAME = np.full((480, 640, 3), 128, np.uint8)
_INSTRUCTION = "go forward"


def warm_up(policy: Policy, steps: int = 2) -> float:
    """Step `steps` times and reset; returns the latency of the last step in seconds.

    Raises CheckpointError if an action is not finite: such a model can never move a robot.
    """
    actions = [policy.step(_FRAME, _INSTRUCTION) for _ in range(steps)]
    policy.reset()
    if not all(action.is_finite for action in actions):
        raise CheckpointError("the model's action on a grey frame is not finite; check precision and action_scale")
    return actions[-1].latency
