"""Run a policy's encoders on whole training sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter

import torch
from torch import Tensor

from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.encoders import EncodedInstruction, EncoderModel, Tokens
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor, InstructionTokenizer, ResizedFrames
from simple_clip_lstm_ros.training.sequences import TrainingSequence

_BATCH = 64  # frames: the activations of a large model take too much memory for more


class FeatureExtractor:
    """Computes the features of a sequence: name -> [T, width], with gradients if the encoders require them."""

    def __init__(self, model: EncoderModel, preprocessor: ImagePreprocessor, tokenizer: InstructionTokenizer) -> None:
        self._model = model
        self._preprocessor = preprocessor
        self._tokenizer = tokenizer
        self._tokens: dict[str, Tokens] = {}
        self._device = next(model.parameters()).device

    @property
    def config(self) -> PolicyConfig:
        return self._model.config

    def __call__(self, sequence: TrainingSequence) -> dict[str, Tensor]:
        if sequence.features is not None:
            return {name: feature.to(self._device) for name, feature in sequence.features.items()}
        assert sequence.resized is not None
        instruction = self._model.encode_instruction(self._tokenize(sequence.instruction))
        batches = [
            self._model.features(self._preprocessor.normalize(batch), _expand(instruction, len(batch.kosmos)))
            for batch in _split_batches(sequence.resized)
        ]
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}

    @torch.no_grad()
    def precompute(self, sequence: TrainingSequence) -> TrainingSequence:
        """Return the sequence with features instead of images, for frozen encoders."""
        features = {name: feature.cpu() for name, feature in self(sequence).items()}
        return sequence._replace(resized=None, features=features)

    def _tokenize(self, text: str) -> Tokens:
        if text not in self._tokens:
            self._tokens[text] = self._tokenizer(text)
        return self._tokens[text]


def _split_batches(frames: ResizedFrames) -> Iterator[ResizedFrames]:
    for start in range(0, len(frames.kosmos), _BATCH):
        yield frames.map(itemgetter(slice(start, start + _BATCH)))


def _expand(instruction: EncodedInstruction, count: int) -> EncodedInstruction:
    """Repeat an instruction for `count` frames."""
    tokens = {name: each.expand(count, -1) for name, each in vars(instruction.tokens).items() if each is not None}
    features = {name: each.expand(count, -1) for name, each in instruction.features.items()}
    return EncodedInstruction(replace(instruction.tokens, **tokens), features)
