"""What a policy's encoders make of whole sequences, for whoever learns from it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from simple_clip_lstm_ros.data.sequences import Sequence
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.inputs import Images, Texts
from simple_clip_lstm_ros.policy.model import Instruction, SimpleCLIPLSTM, Tokens

_AT_ONCE = 64  # frames: what a large model makes of more takes too much memory


class Encoders:
    """Sequence -> name -> [T, width], with gradients where the encoders have them."""

    def __init__(self, model: SimpleCLIPLSTM, images: Images, texts: Texts) -> None:
        self._model = model
        self._images = images
        self._texts = texts
        self._tokens: dict[str, Tokens] = {}
        self._device = next(model.parameters()).device

    @property
    def config(self) -> PolicyConfig:
        return self._model.config

    def __call__(self, given: Sequence) -> dict[str, Tensor]:
        if given.features is not None:
            return {name: feature.to(self._device) for name, feature in given.features.items()}
        parts = [self._encoded(part) for part in _parts(given)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    @torch.no_grad()
    def cached(self, given: Sequence) -> Sequence:
        """With features in the place of images: for encoders that stay as they are."""
        return given._replace(sized=None, features={name: feature.cpu() for name, feature in self(given).items()})

    def _encoded(self, given: Sequence) -> dict[str, Tensor]:
        assert given.sized is not None
        count = len(given.actions)
        if given.instruction not in self._tokens:
            self._tokens[given.instruction] = self._texts(given.instruction)
        tokens = self._tokens[given.instruction]
        told = self._model.encode_instruction(tokens).features
        repeated = {name: value.expand(count, -1) for name, value in vars(tokens).items() if value is not None}
        many = replace(tokens, **repeated)
        instruction = Instruction(many, {name: value.expand(count, -1) for name, value in told.items()})
        return self._model.features(self._images.normalised(given.sized), instruction)


def _parts(given: Sequence) -> list[Sequence]:
    return [_part(given, slice(at, at + _AT_ONCE)) for at in range(0, len(given.actions), _AT_ONCE)]


def _part(given: Sequence, frames: slice) -> Sequence:
    assert given.sized is not None
    return given._replace(sized=given.sized.map(lambda all_of: all_of[frames]), actions=given.actions[frames])
