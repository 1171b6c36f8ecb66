"""What a policy's encoders make of whole sequences, for whoever learns from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter

import torch
from torch import Tensor

from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.model import EncodedInstruction, SimpleCLIPLSTM, Tokens
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor, InstructionTokenizer, ResizedFrames
from simple_clip_lstm_ros.training.sequences import TrainingSequence

_BATCH = 64  # frames: what a large model makes of more takes too much memory


class FeatureExtractor:
    """Sequence -> name -> [T, width], with gradients where the encoders have them."""

    def __init__(self, model: SimpleCLIPLSTM, images: ImagePreprocessor, texts: InstructionTokenizer) -> None:
        self._model = model
        self._images = images
        self._texts = texts
        self._tokens: dict[str, Tokens] = {}
        self._device = next(model.parameters()).device

    @property
    def config(self) -> PolicyConfig:
        return self._model.config

    def __call__(self, given: TrainingSequence) -> dict[str, Tensor]:
        if given.features is not None:
            return {name: feature.to(self._device) for name, feature in given.features.items()}
        assert given.sized is not None
        instruction = self._model.encode_instruction(self._tokenised(given.instruction))
        parts = [
            self._model.features(self._images.normalize(part), _for_each(part, instruction))
            for part in _parts(given.sized)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    @torch.no_grad()
    def cached(self, given: TrainingSequence) -> TrainingSequence:
        """With features in the place of images: for encoders that stay as they are."""
        return given._replace(sized=None, features={name: feature.cpu() for name, feature in self(given).items()})

    def _tokenised(self, text: str) -> Tokens:
        if text not in self._tokens:
            self._tokens[text] = self._texts(text)
        return self._tokens[text]


def _parts(sized: ResizedFrames) -> Iterator[ResizedFrames]:
    for at in range(0, len(sized.kosmos), _BATCH):
        yield sized.map(itemgetter(slice(at, at + _BATCH)))


def _for_each(sized: ResizedFrames, instruction: EncodedInstruction) -> EncodedInstruction:
    """The same for every frame."""
    count = len(sized.kosmos)
    tokens = {name: each.expand(count, -1) for name, each in vars(instruction.tokens).items() if each is not None}
    features = {name: each.expand(count, -1) for name, each in instruction.features.items()}
    return EncodedInstruction(replace(instruction.tokens, **tokens), features)
