"""Policy: one step from a frame and an instruction to an action, with a hidden state between the steps."""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simple_clip_lstm_ros.errors import CheckpointError
from simple_clip_lstm_ros.policy.action_model import State
from simple_clip_lstm_ros.policy.encoders import EncodedInstruction
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor, InstructionTokenizer


@dataclass(frozen=True)
class Action:
    """One action of the policy.

    `values` are in the order of `action_axes` (m/s, rad/s), after action_scale and action_offset. `stamp` is the stamp
    of the frame and `latency` the duration of the step, both in seconds. `state_step` counts the frames that the hidden
    state has seen, including this one.
    """

    values: tuple[float, ...]
    stamp: float
    latency: float
    state_step: int

    @property
    def is_finite(self) -> bool:
        return all(math.isfinite(value) for value in self.values)


class Policy:
    """A loaded model with its hidden state. Not thread-safe: one thread steps and resets it."""

    def __init__(
        self, model: SimpleCLIPLSTM, images: ImagePreprocessor, tokenizer: InstructionTokenizer, precision: str
    ) -> None:
        """Create a policy; `precision` is that of the model's encoders: fp32, bf16, fp16 or int8."""
        self.model = model
        self.precision = precision
        self.config = model.config
        self._images = images
        self.tokenizer = tokenizer
        self._encoded: tuple[str, EncodedInstruction] | None = None
        self._scale = np.array(self.config.action_scale)
        self._offset = np.array(self.config.action_offset)
        self.reset()

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def frames_seen(self) -> int:
        """Return how many frames the hidden state holds."""
        return self._steps

    def fork(self) -> Policy:
        """Return a policy with the same model and a copy of the hidden state.

        The hidden state of this policy stays unchanged.
        """
        forked = copy.copy(self)
        forked._window = self._window.copy()
        return forked

    def reset(self) -> None:
        """Reset the hidden state: forget every frame seen so far."""
        self._state: State | None = None
        self._window: deque[Tensor] = deque(maxlen=self.config.window_size)
        self._steps = 0

    def validate_instruction(self, instruction: str) -> str:
        """Return why `instruction` cannot be used, or an empty string."""
        return self.tokenizer.validate_instruction(instruction)

    def text_tokens(self, instruction: str) -> int:
        """Return how many Kosmos-2 text tokens `instruction` takes, without the image tokens.

        Raise InputError as `step` does.
        """
        return int((self.tokenizer(instruction).kosmos_image_mask == 0).sum())

    def step(self, frame: np.ndarray, instruction: str, stamp: float = 0.0) -> Action:
        """Return the action for one frame, uint8 [height, width, 3] in RGB.

        A new instruction starts from a fresh hidden state. Raise InputError for a frame or an instruction that cannot
        be used; the hidden state is then unchanged.
        """
        start = time.perf_counter()
        values = self.act(self.features(frame, instruction))
        action = Action(values, stamp, time.perf_counter() - start, self._steps)
        if not action.is_finite:
            # A NaN in the state would never leave it.
            self.reset()
        return action

    @torch.inference_mode()
    def features(self, frame: np.ndarray, instruction: str) -> dict[str, Tensor]:
        """Return the encoders' features of a frame, each [1, width]: the first half of a step.

        Raise InputError as `step` does.
        """
        pixels = self._images(frame)
        return self.model.features(pixels, self._encode(instruction))

    @torch.inference_mode()
    def act(self, features: dict[str, Tensor]) -> tuple[float, ...]:
        """Update the hidden state with `features` and return the action's values.

        This is the second half of a step.
        """
        raw = self._update_state(self.model.fuse(features))
        return tuple(float(value) for value in raw * self._scale + self._offset)

    def _encode(self, text: str) -> EncodedInstruction:
        if self._encoded is None or text != self._encoded[0]:
            encoded = text, self.model.encode_instruction(self.tokenizer(text))
            self.reset()
            self._encoded = encoded
        return self._encoded[1]

    def _update_state(self, fused: Tensor) -> np.ndarray:
        if self.config.history == "carry":
            action, self._state = self.model.act(fused[None], self._state)
            self._steps += 1
        else:
            # As in RoboVLMs: run the last window of frames from a zero state each time.
            self._window.append(fused)
            action, _ = self.model.act(torch.stack(tuple(self._window), dim=1), None)
            self._steps = len(self._window)
        return action[0].double().cpu().numpy()


# Any frame and any text take the same path through the model.
_FRAME = np.full((480, 640, 3), 128, np.uint8)
_INSTRUCTION = "go forward"


def warm_up(policy: Policy, steps: int = 2) -> float:
    """Step `steps` times and reset; return the latency of the last step in seconds.

    Raise CheckpointError if an action is not finite: such a model can never move a robot.
    """
    actions = [policy.step(_FRAME, _INSTRUCTION) for _ in range(steps)]
    policy.reset()
    if not all(action.is_finite for action in actions):
        raise CheckpointError("the model's action on a gray frame is not finite; check precision and action_scale")
    return actions[-1].latency
