"""A policy's model as something to train: whole sequences with carried state, and landmarks to keep it looking.

Where cup, boxes and the way are is not asked of a policy that drives. Asked of one that learns, it makes the encoders
see and read what a velocity alone tells them of too late.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from simple_clip_lstm_ros.data.sequences import Sequence
from simple_clip_lstm_ros.policy.inputs import Images, Texts
from simple_clip_lstm_ros.policy.model import Instruction, SimpleCLIPLSTM, Tokens

_BETA = 0.3  # below it an error counts by its square, above by its size


class Learner(nn.Module):
    """`forward` gives the loss of a batch; `predicted` the actions. `spread` is the standard deviation of each axis."""

    spread: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(
        self, model: SimpleCLIPLSTM, images: Images, texts: Texts, landmarks: int, spread: Tensor, weight: float
    ) -> None:
        super().__init__()
        self.model = model
        self.landmarks = nn.Linear(model.config.rnn_hidden_size, 2 * landmarks) if landmarks else None
        self._images = images
        self._texts = texts
        self._tokens: dict[str, Tokens] = {}
        self._weight = weight
        self.register_buffer("scale", torch.tensor(model.config.action_scale))
        self.register_buffer("offset", torch.tensor(model.config.action_offset))
        self.register_buffer("spread", spread)

    def forward(self, batch: Many[Sequence]) -> Tensor:
        """Mean over all frames: error of the actions over their spread, and of the landmarks in m."""
        hidden = self._hidden(batch)
        wanted = torch.cat([each.actions for each in batch])
        loss = F.smooth_l1_loss(self._actions(hidden) / self.spread, wanted / self.spread, beta=_BETA)
        if self.landmarks is not None:
            places = torch.cat([each.landmarks.flatten(1) for each in batch])
            known = ~places.isnan()
            if known.any():
                loss = loss + self._weight * F.smooth_l1_loss(self.landmarks(hidden)[known], places[known], beta=_BETA)
        return loss

    def predicted(self, batch: Many[Sequence]) -> Tensor:
        """Actions of all frames of all sequences, one after the other, [frames, axes], in m/s and rad/s."""
        return self._actions(self._hidden(batch))

    def _hidden(self, batch: Many[Sequence]) -> Tensor:
        fused = [self.model.fuse(self._features(each)) for each in batch]
        hidden, _ = self.model.rnn(pad_sequence(fused, batch_first=True))
        return torch.cat([each[: len(own)] for each, own in zip(hidden, fused, strict=True)])

    def _actions(self, hidden: Tensor) -> Tensor:
        return self.model.actions(hidden) * self.scale + self.offset

    def _features(self, given: Sequence) -> dict[str, Tensor]:
        if given.features is not None:
            return given.features
        count = len(given.actions)
        if given.instruction not in self._tokens:
            self._tokens[given.instruction] = self._texts(given.instruction)
        tokens = self._tokens[given.instruction]
        told = self.model.encode_instruction(tokens).features
        repeated = {name: value.expand(count, -1) for name, value in vars(tokens).items() if value is not None}
        many = replace(tokens, **repeated)
        instruction = Instruction(many, {name: value.expand(count, -1) for name, value in told.items()})
        return self.model.features(self._images.normalised(given.sized), instruction)
