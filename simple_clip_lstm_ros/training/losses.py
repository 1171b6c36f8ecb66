"""Training losses: encoder pretraining on single frames, and behavior cloning on sequences.

An auxiliary loss on the positions of cup, boxes and path trains the encoders sooner than the velocities alone; a
driving policy does not output these positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from simple_clip_lstm_ros.policy.config import feature_widths
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM
from simple_clip_lstm_ros.training.feature_extractor import FeatureExtractor
from simple_clip_lstm_ros.training.sequences import TrainingSequence

_BETA = 0.3  # smooth L1: quadratic below this error, linear above


class BehaviorCloningLoss(nn.Module):
    """Behavior cloning: `forward` returns the loss of a batch of whole sequences, `predict` the actions.

    The hidden state is carried along each sequence. `action_std` is the standard deviation of each axis, `landmarks`
    the number of landmarks per frame.
    """

    action_std: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(
        self, model: SimpleCLIPLSTM, feature_extractor: FeatureExtractor, landmarks: int, action_std: Tensor
    ) -> None:
        super().__init__()
        self.model = model
        self.landmarks = nn.Linear(model.config.rnn_hidden_size, 2 * landmarks) if landmarks else None
        self._feature_extractor = feature_extractor
        self.register_buffer("scale", torch.tensor(model.config.action_scale))
        self.register_buffer("offset", torch.tensor(model.config.action_offset))
        self.register_buffer("action_std", action_std)

    def forward(self, batch: Sequence[TrainingSequence]) -> Tensor:
        """Return the mean over all frames: action error in standard deviations, plus landmark error in m."""
        hidden = self._hidden(batch)
        target_actions = torch.cat([each.actions for each in batch])
        loss = F.smooth_l1_loss(self._actions(hidden) / self.action_std, target_actions / self.action_std, beta=_BETA)
        if self.landmarks is None:
            return loss
        return loss + _landmark_loss(self.landmarks(hidden), torch.cat([each.landmarks for each in batch]))

    def predict(self, batch: Sequence[TrainingSequence]) -> Tensor:
        """Return the actions of all sequences, concatenated: [frames, axes] in m/s and rad/s."""
        return self._actions(self._hidden(batch))

    def _hidden(self, batch: Sequence[TrainingSequence]) -> Tensor:
        fused = [self.model.fuse(self._feature_extractor(each)) for each in batch]
        hidden, _ = self.model.rnn(pad_sequence(fused, batch_first=True))
        return torch.cat([padded[: len(sequence)] for padded, sequence in zip(hidden, fused, strict=True)])

    def _actions(self, hidden: Tensor) -> Tensor:
        return self.model.actions(hidden) * self.scale + self.offset


class EncoderPretrainingLoss(nn.Module):
    """Pretraining of untrained encoders: `forward` returns the loss of a batch of independent frames.

    A linear probe on each feature, and one on the fused features, predict the action, the position of each landmark and
    whether it is in view (NaN if not). Gradients through the LSTM alone are too weak: training would need ten times the
    frames.
    """

    action_std: Tensor

    def __init__(
        self, model: SimpleCLIPLSTM, feature_extractor: FeatureExtractor, landmarks: int, action_std: Tensor
    ) -> None:
        super().__init__()
        self.model = model
        config = model.config
        all_widths = feature_widths(config.kosmos, config.clip)
        widths = {name: all_widths[name] for name in config.features} | {_FUSED: config.rnn_input_size}
        self._sizes = (config.action_size, 2 * landmarks, landmarks)
        self.probes = nn.ModuleDict({name: nn.Linear(width, sum(self._sizes)) for name, width in widths.items()})
        self._feature_extractor = feature_extractor
        self.register_buffer("action_std", action_std)

    def forward(self, batch: Sequence[TrainingSequence]) -> Tensor:
        """Return the mean loss over all probes.

        The loss of a probe is the sum of its action, position and view losses.
        """
        extracted = [self._feature_extractor(each) for each in batch]
        features = {name: torch.cat([each[name] for each in extracted]) for name in extracted[0]}
        features[_FUSED] = self.model.fuse(features)
        target_actions = torch.cat([each.actions for each in batch])
        landmarks = torch.cat([each.landmarks for each in batch])
        losses = [
            self._probe_loss(probe(features[name]), target_actions, landmarks) for name, probe in self.probes.items()
        ]
        return torch.stack(losses).mean()

    def _probe_loss(self, prediction: Tensor, target_actions: Tensor, landmarks: Tensor) -> Tensor:
        actions, positions, in_view = prediction.split(self._sizes, dim=1)
        visible = (~landmarks[..., 0].isnan()).float()
        return (
            F.smooth_l1_loss(actions, target_actions / self.action_std, beta=_BETA)
            + 2.0 * _landmark_loss(positions, landmarks)
            + F.binary_cross_entropy_with_logits(in_view, visible)
        )


_FUSED = "fused"


def _landmark_loss(prediction: Tensor, landmarks: Tensor) -> Tensor:
    """Return the loss of [frames, 2 K] against [frames, K, 2].

    The mean over all known values (not NaN); zero if none is known.
    """
    landmarks = landmarks.flatten(1)
    known = ~landmarks.isnan()
    errors = F.smooth_l1_loss(prediction, landmarks.nan_to_num(), beta=_BETA, reduction="none") * known
    return errors.sum() / known.sum().clamp(min=1)
