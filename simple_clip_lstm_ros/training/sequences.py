"""Training sequences: frames resized for the encoders, actions on the policy's axes."""

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
    """T frames of one episode, as images or as precomputed `features` (name -> [T, width])."""

    instruction: str
    resized: ResizedFrames | None  # uint8 [T, 3, size, size] for each encoder
    actions: Tensor  # float32 [T, axes], m/s and rad/s
    landmarks: Tensor  # float32 [T, K, 2], m in the robot's axes; NaN if unknown
    features: dict[str, Tensor] | None = None


# Variants of one drive, such as the original and its mirror image.
Example = tuple[TrainingSequence, ...]


def make_sequence(
    instruction: str,
    frames: Iterable[np.ndarray],
    actions: np.ndarray,
    landmarks: np.ndarray | None,
    config: PolicyConfig,
    preprocessor: ImagePreprocessor,
) -> TrainingSequence:
    """Create a sequence from recorded data.

    `frames` are as `Policy.step` takes them, `actions` [T, 3] in the order of AXES, `landmarks` [T, K, 2] or None.
    """
    columns = [AXES.index(axis) for axis in config.action_axes]
    if landmarks is None:
        landmarks = np.zeros((len(actions), 0, 2), np.float32)
    return TrainingSequence(
        instruction,
        ResizedFrames.concat([preprocessor.resize(frame) for frame in frames]),
        torch.from_numpy(actions[:, columns].copy()),
        torch.from_numpy(landmarks),
    )


def mirror(sequence: TrainingSequence, config: PolicyConfig) -> TrainingSequence:
    """Return the mirrored sequence: images, text, actions and landmarks with left and right exchanged."""
    assert sequence.resized is not None, "what the encoders have seen cannot be mirrored"
    signs = torch.tensor([_MIRRORED[axis] for axis in config.action_axes])
    return TrainingSequence(
        swap_left_right(sequence.instruction),
        sequence.resized.map(lambda frames: frames.flip(-1)),
        sequence.actions * signs,
        sequence.landmarks * torch.tensor([1.0, -1.0]),
    )
