"""Training on recorded episodes: train/validation split, action scale, and selection of the best weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simple_clip_lstm_ros.data.dataset import LabelledEpisode
from simple_clip_lstm_ros.errors import ConfigError, EpisodeError
from simple_clip_lstm_ros.evaluation.metrics import ErrorSummary
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor
from simple_clip_lstm_ros.training.loop import TrainingLoop
from simple_clip_lstm_ros.training.losses import BehaviorCloningLoss
from simple_clip_lstm_ros.training.sequences import Example, TrainingSequence, make_sequence, mirror

_VAL_EVERY = 5
_MIN_STD = 1e-3  # m/s or rad/s: keeps an axis that never moves from being scaled up
_HEADROOM = 1.05  # tanh never reaches 1
_HEAD = ("feature_fusion.", "rnn.", "actions.")


def split(episodes: Sequence[LabelledEpisode], seed: int) -> tuple[list[LabelledEpisode], list[LabelledEpisode]]:
    """Return the training and validation episodes; every fifth of a shuffled list validates.

    Raise EpisodeError for fewer than two episodes.
    """
    count = len(episodes)
    if count < 2:
        raise EpisodeError(f"training needs at least two episodes, one of them for validation; usable here: {count}")
    shuffled = [episodes[index] for index in np.random.default_rng(seed).permutation(count)]
    train_episodes = [each for index, each in enumerate(shuffled) if index % _VAL_EVERY]
    return train_episodes, shuffled[::_VAL_EVERY]


def action_std(actions: Tensor) -> Tensor:
    """Return the standard deviation of each axis of [frames, axes]."""
    return actions.std(dim=0, correction=0).clamp(min=_MIN_STD)


def make_example(
    labelled: LabelledEpisode, config: PolicyConfig, preprocessor: ImagePreprocessor, *, mirrored: bool
) -> Example:
    """Return an episode's sequence, and with `mirrored` its mirror image too.

    Raise EpisodeError for images that cannot be read.
    """
    frames = labelled.episode.frames()
    sequence = make_sequence(labelled.instruction, frames, labelled.velocities, None, config, preprocessor)
    return (sequence, mirror(sequence, config)) if mirrored else (sequence,)


def prepare_model(model: SimpleCLIPLSTM, actions: Tensor, *, encoders: bool) -> None:
    """Set up a model to train on actions [frames, axes].

    Train fusion, LSTM and head, and with `encoders` everything. Mark its config as trained. Raise ConfigError for a
    config that cannot be trained.
    """
    config = model.config
    if config.history != "carry":
        raise ConfigError(f"history {config.history} is not trained here, where the hidden state is carried: set carry")
    if config.layers:
        raise ConfigError("a pruned model cannot be trained: leave out --layers, or prune the trained one")
    config = fit_action_scale(config, actions) if config.untrained else config
    # The assumed preprocessing is now the one that it is trained with.
    model.config = replace(config, untrained=False, assumed=())
    for name, weight in model.named_parameters():
        weight.requires_grad_(encoders or name.startswith(_HEAD))


def fit_action_scale(config: PolicyConfig, actions: Tensor) -> PolicyConfig:
    """Return a config whose action scale and offset fit these actions [frames, axes].

    For an untrained head, whose outputs are near zero and one. Not for a trained head: it has learned with its own
    scale.
    """
    center = actions.mean(dim=0)
    scale = (actions - center).abs().amax(dim=0) * _HEADROOM if config.final_tanh else action_std(actions)
    return replace(
        config,
        action_scale=tuple(scale.clamp(min=_MIN_STD).tolist()),
        action_offset=tuple(center.tolist()),
    )


@torch.inference_mode()
def validate(loss_module: BehaviorCloningLoss, val_sequences: Sequence[TrainingSequence]) -> ErrorSummary:
    """Return the errors of the predicted actions on the validation sequences."""
    loss_module.eval()
    pairs = [torch.stack([loss_module.predict([each]).cpu(), each.actions]).double().numpy() for each in val_sequences]
    return ErrorSummary.of(pairs, loss_module.model.config.action_axes)


class Trainer:
    """Trains epoch by epoch, validates after each, and keeps the best weights."""

    def __init__(
        self, loss_module: BehaviorCloningLoss, val_sequences: Sequence[TrainingSequence], loop: TrainingLoop
    ) -> None:
        self.best_epoch = 0  # counted from one
        self._best: ErrorSummary | None = None
        self._loss_module = loss_module
        self._val_sequences = val_sequences
        self._loop = loop
        self._weights: dict[str, Tensor] = {}

    @property
    def best(self) -> ErrorSummary:
        """Return the errors of the best epoch so far; call after the first epoch."""
        assert self._best is not None
        return self._best

    @property
    def epoch(self) -> int:
        """Return the number of completed epochs."""
        return self._loop.epoch

    @property
    def is_main_process(self) -> bool:
        """Return whether this is the process of a distributed training that writes files."""
        return self._loop.accelerator.is_main_process

    @property
    def optimizer_state(self) -> dict[str, Any]:
        return self._loop.optimizer_state()

    def run_epoch(self) -> tuple[float, ErrorSummary]:
        """Train one more epoch. Return its loss and the validation errors."""
        loss = self._loop.run_epoch()
        errors = validate(self._loss_module, self._val_sequences)
        if self._best is None or errors.overall.error < self._best.overall.error:
            self._best, self.best_epoch = errors, self.epoch
            self._weights = self._loop.weights()
        return loss, errors

    def finish(self) -> None:
        """Load the best weights into the model."""
        self._loop.load_weights(self._weights)

    def state(self) -> dict[str, Any]:
        """Return the state as plain values and tensors, for `restore` in another process."""
        return {
            "training": self._loop.state(),
            "weights": self._weights,
            "best_epoch": self.best_epoch,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a state. Raise KeyError, ValueError or RuntimeError for that of another training."""
        self._weights, self.best_epoch = state["weights"], state["best_epoch"]
        self.finish()
        self._best = validate(self._loss_module, self._val_sequences)
        self._loop.restore(state["training"])
