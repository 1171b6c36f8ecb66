"""A policy's model as something to train: its eyes on single frames, or the whole of it on sequences.

Where cup, boxes and the way are is not asked of a policy that drives. Asked of one that learns, it makes the encoders
see and read what a velocity alone tells them of too late.
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

_BETA = 0.3  # below it an error counts by its square, above by its size


class BehaviorCloningLoss(nn.Module):
    """`forward` gives the loss of a batch of whole sequences, with carried state; `predicted` the actions.

    `spread` is the standard deviation of each axis, `landmarks` how many of them there are in each sequence.
    """

    spread: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(self, model: SimpleCLIPLSTM, encoders: FeatureExtractor, landmarks: int, spread: Tensor) -> None:
        super().__init__()
        self.model = model
        self.landmarks = nn.Linear(model.config.rnn_hidden_size, 2 * landmarks) if landmarks else None
        self._encoders = encoders
        self.register_buffer("scale", torch.tensor(model.config.action_scale))
        self.register_buffer("offset", torch.tensor(model.config.action_offset))
        self.register_buffer("spread", spread)

    def forward(self, batch: Sequence[TrainingSequence]) -> Tensor:
        """Mean over all frames: error of the actions over their spread, and of the landmarks in m."""
        hidden = self._hidden(batch)
        wanted = torch.cat([each.actions for each in batch])
        loss = F.smooth_l1_loss(self._actions(hidden) / self.spread, wanted / self.spread, beta=_BETA)
        if self.landmarks is None:
            return loss
        return loss + _landmark_loss(self.landmarks(hidden), torch.cat([each.landmarks for each in batch]))

    def predicted(self, batch: Sequence[TrainingSequence]) -> Tensor:
        """Actions of all frames of all sequences, one after the other, [frames, axes], in m/s and rad/s."""
        return self._actions(self._hidden(batch))

    def _hidden(self, batch: Sequence[TrainingSequence]) -> Tensor:
        fused = [self.model.fuse(self._encoders(each)) for each in batch]
        hidden, _ = self.model.rnn(pad_sequence(fused, batch_first=True))
        return torch.cat([each[: len(own)] for each, own in zip(hidden, fused, strict=True)])

    def _actions(self, hidden: Tensor) -> Tensor:
        return self.model.actions(hidden) * self.scale + self.offset


class EncoderPretrainingLoss(nn.Module):
    """`forward` gives the loss of a batch of frames that need not follow one another: for encoders that know nothing.

    Each feature, and what fusion makes of them all, is asked by a linear layer of its own for the action, for where
    each landmark is and whether it is in view (one that is not is NaN). Through the LSTM alone so small a voice would
    take ten times as many frames to be heard by the encoders.
    """

    spread: Tensor

    def __init__(self, model: SimpleCLIPLSTM, encoders: FeatureExtractor, landmarks: int, spread: Tensor) -> None:
        super().__init__()
        self.model = model
        config = model.config
        known = feature_widths(config.kosmos, config.clip)
        widths = {name: known[name] for name in config.features} | {_FUSED: config.rnn_input_size}
        self._sizes = (config.action_size, 2 * landmarks, landmarks)
        self.probes = nn.ModuleDict({name: nn.Linear(width, sum(self._sizes)) for name, width in widths.items()})
        self._encoders = encoders
        self.register_buffer("spread", spread)

    def forward(self, batch: Sequence[TrainingSequence]) -> Tensor:
        """Mean over the features, of each the sum of what is asked."""
        seen = [self._encoders(each) for each in batch]
        features = {name: torch.cat([each[name] for each in seen]) for name in seen[0]}
        features[_FUSED] = self.model.fuse(features)
        wanted = torch.cat([each.actions for each in batch])
        places = torch.cat([each.landmarks for each in batch])
        losses = [self._probe_loss(probe(features[name]), wanted, places) for name, probe in self.probes.items()]
        return torch.stack(losses).mean()

    def _probe_loss(self, answer: Tensor, wanted: Tensor, places: Tensor) -> Tensor:
        actions, located, in_view = answer.split(self._sizes, dim=1)
        visible = (~places[..., 0].isnan()).float()
        return (
            F.smooth_l1_loss(actions, wanted / self.spread, beta=_BETA)
            + 2.0 * _landmark_loss(located, places)
            + F.binary_cross_entropy_with_logits(in_view, visible)
        )


_FUSED = "fused"


def _landmark_loss(answer: Tensor, places: Tensor) -> Tensor:
    """Of [frames, 2 K] against [frames, K, 2], over what is known; zero where nothing is."""
    places = places.flatten(1)
    known = ~places.isnan()
    errors = F.smooth_l1_loss(answer, places.nan_to_num(), beta=_BETA, reduction="none") * known
    return errors.sum() / known.sum().clamp(min=1)
