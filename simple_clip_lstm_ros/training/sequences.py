"""Episodes as a policy is trained on them: frames of the encoders' size, actions on the policy's own axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from simple_clip_lstm_ros.control.velocity import AXES
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor, ResizedFrames
from simple_clip_lstm_ros.sim.instructions import swap_left_right

_MIRRORED = {"linear.x": 1.0, "linear.y": -1.0, "angular.z": -1.0}


class TrainingSequence(NamedTuple):
    """T frames of one episode, as images or as `features` (name -> [T, width]) where the encoders have seen them."""

    instruction: str
    sized: ResizedFrames | None  # uint8 [T, 3, size, size] for each encoder
    actions: Tensor  # float32 [T, axes], m/s and rad/s
    landmarks: Tensor  # float32 [T, K, 2], m in the robot's axes; NaN where there is none
    features: dict[str, Tensor] | None = None


# The same drive told in several ways, such as its mirror image.
Example = tuple[TrainingSequence, ...]


def make_sequence(
    instruction: str,
    frames: Iterable[np.ndarray],
    actions: np.ndarray,
    landmarks: np.ndarray | None,
    config: PolicyConfig,
    images: ImagePreprocessor,
) -> TrainingSequence:
    """`frames` as `Policy.step` takes them, `actions` [T, 3] in the order of AXES, `landmarks` [T, K, 2] or None."""
    columns = [AXES.index(axis) for axis in config.action_axes]
    if landmarks is None:
        landmarks = np.zeros((len(actions), 0, 2), np.float32)
    return TrainingSequence(
        instruction,
        ResizedFrames.concat([images.resize(frame) for frame in frames]),
        torch.from_numpy(actions[:, columns].copy()),
        torch.from_numpy(landmarks),
    )


def mirror(given: TrainingSequence, config: PolicyConfig) -> TrainingSequence:
    """The same drive in the world behind a mirror: pictures, text, actions and landmarks, left for right."""
    assert given.sized is not None, "what the encoders have seen cannot be mirrored"
    signs = torch.tensor([_MIRRORED[axis] for axis in config.action_axes])
    return TrainingSequence(
        swap_left_right(given.instruction),
        given.sized.map(lambda frames: frames.flip(-1)),
        given.actions * signs,
        given.landmarks * torch.tensor([1.0, -1.0]),
    )
