"""Training on recorded episodes: which of them teach and which judge, the scale of the actions, the best weights."""

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
_MIN_STD = 1e-3  # m/s or rad/s: an axis that never moves is not blown up
_HEADROOM = 1.05  # tanh comes near to 1, not to it
_HEAD = ("feature_fusion.", "rnn.", "actions.")


def split(recordings: Sequence[LabelledEpisode], seed: int) -> tuple[list[LabelledEpisode], list[LabelledEpisode]]:
    """Those that teach and those that judge, every fifth of a shuffled list. Raises EpisodeError for fewer than two."""
    count = len(recordings)
    if count < 2:
        raise EpisodeError(f"to train takes two episodes or more, one of them to judge by; usable here: {count}")
    shuffled = [recordings[index] for index in np.random.default_rng(seed).permutation(count)]
    train_episodes = [each for index, each in enumerate(shuffled) if index % _VAL_EVERY]
    return train_episodes, shuffled[::_VAL_EVERY]


def action_std(actions: Tensor) -> Tensor:
    """Standard deviation of each axis, of [frames, axes]."""
    return actions.std(dim=0, correction=0).clamp(min=_MIN_STD)


def example_of(
    recording: LabelledEpisode, config: PolicyConfig, images: ImagePreprocessor, *, mirrored: bool
) -> Example:
    """Its drive, and with `mirrored` that behind a mirror. Raises EpisodeError for images that cannot be read."""
    frames = recording.episode.frames()
    given = make_sequence(recording.instruction, frames, recording.velocities, None, config, images)
    return (given, mirror(given, config)) if mirrored else (given,)


def prepare_model(model: SimpleCLIPLSTM, actions: Tensor, *, encoders: bool) -> None:
    """To learn from such actions, [frames, axes]: fusion, LSTM and head, and with `encoders` all. Raises ConfigError.

    From now on its config is that of a trained one.
    """
    config = model.config
    if config.history != "carry":
        raise ConfigError(f"history {config.history} is not trained here, where the hidden state is carried: set carry")
    if config.layers:
        raise ConfigError("a cut model is not trained: leave out --layers, or cut the trained one")
    config = fit_action_scale(config, actions) if config.untrained else config
    # Whatever was assumed of its recipe is now what it was trained by.
    model.config = replace(config, untrained=False, assumed=())
    for name, weight in model.named_parameters():
        weight.requires_grad_(encoders or name.startswith(_HEAD))


def fit_action_scale(config: PolicyConfig, actions: Tensor) -> PolicyConfig:
    """For a head that knows nothing yet: its outputs, near zero and one, become velocities such as these.

    A head that has been trained keeps its scale: it has learnt to it.
    """
    middle = actions.mean(dim=0)
    reach = (actions - middle).abs().amax(dim=0) * _HEADROOM if config.final_tanh else action_std(actions)
    return replace(
        config,
        action_scale=tuple(reach.clamp(min=_MIN_STD).tolist()),
        action_offset=tuple(middle.tolist()),
    )


@torch.inference_mode()
def validate(learner: BehaviorCloningLoss, val_episodes: Sequence[TrainingSequence]) -> ErrorSummary:
    learner.eval()
    pairs = [torch.stack([learner.predicted([each]).cpu(), each.actions]).double().numpy() for each in val_episodes]
    return ErrorSummary.of(pairs, learner.model.config.action_axes)


class Trainer:
    """Epoch by epoch, with the best weights kept."""

    def __init__(
        self, learner: BehaviorCloningLoss, val_episodes: Sequence[TrainingSequence], training: TrainingLoop
    ) -> None:
        self.best_epoch = 0  # counted from one
        self._best: ErrorSummary | None = None
        self._learner = learner
        self._judges = val_episodes
        self._training = training
        self._weights: dict[str, Tensor] = {}

    @property
    def best(self) -> ErrorSummary:
        """Of the best epoch so far; there has been one."""
        assert self._best is not None
        return self._best

    @property
    def epoch(self) -> int:
        """How many are done."""
        return self._training.epoch

    @property
    def writes(self) -> bool:
        """Of the processes of one training, one does."""
        return self._training.accelerator.is_main_process

    @property
    def optimizer_state(self) -> dict[str, Any]:
        return self._training.optimizer_state()

    def run_epoch(self) -> tuple[float, ErrorSummary]:
        """Loss and judgement of one more."""
        loss = self._training.run_epoch()
        judged = validate(self._learner, self._judges)
        if self._best is None or judged.overall.error < self._best.overall.error:
            self._best, self.best_epoch = judged, self.epoch
            self._weights = self._training.weights()
        return loss, judged

    def finish(self) -> None:
        """The best weights into the model."""
        self._training.load_weights(self._weights)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors, for `restore` in another process."""
        return {
            "training": self._training.state(),
            "weights": self._weights,
            "best_epoch": self.best_epoch,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises KeyError, ValueError or RuntimeError for a state of another training."""
        self._weights, self.best_epoch = state["weights"], state["best_epoch"]
        self.finish()
        self._best = validate(self._learner, self._judges)
        self._training.restore(state["training"])
