"""Training, epoch by epoch, of any module whose `forward` gives the loss of a batch of sequences.

On Hugging Face's accelerate: devices, several GPUs and several machines are the business of `accelerate launch`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import get_cosine_schedule_with_warmup

from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.training.sequences import Example, TrainingSequence

try:
    from accelerate import Accelerator
except ImportError:
    raise ConfigError("training needs accelerate: pip install accelerate") from None

_LARGEST_GRADIENT = 1.0
_WEIGHT_DECAY = 0.01
# Adam's usual second decay, 0.999, remembers the first steps of a model that knows nothing for too long.
_BETAS = (0.9, 0.98)
_WARM_UP = 0.05  # share of the steps


def accelerator_on(device: str) -> Accelerator:
    """Of this process, on `cpu`, or on what its launcher gave it."""
    return Accelerator(cpu=device == "cpu")


@dataclass(frozen=True)
class TrainingConfig:
    """The learning rate rises to its maximum and falls back to zero over all epochs; `batch` is of sequences."""

    epochs: int
    batch: int = 8
    learning_rate: float = 1e-3
    seed: int = 0


class TrainingLoop:
    """AdamW on what requires a gradient. The same examples, schedule and seed give the same weights on one machine."""

    def __init__(
        self, learner: nn.Module, examples: Sequence[Example], schedule: TrainingConfig, accelerator: Accelerator
    ) -> None:
        self.epoch = 0  # how many are done
        self._schedule = schedule
        self.accelerator = accelerator
        self._trained = {name: weight for name, weight in learner.named_parameters() if weight.requires_grad}
        self._told = _AugmentedDataset(examples, schedule.seed)
        self._order = torch.Generator()
        loader = DataLoader(self._told, schedule.batch, shuffle=True, collate_fn=list, generator=self._order)
        optimizer = torch.optim.AdamW(
            self._trained.values(), schedule.learning_rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY
        )
        steps = schedule.epochs * len(loader)
        scheduler = get_cosine_schedule_with_warmup(optimizer, round(_WARM_UP * steps), steps)
        self._learner, self._optimizer, self._scheduler, self._loader = accelerator.prepare(
            learner, optimizer, scheduler, loader
        )

    def run_epoch(self) -> float:
        """Each example once, in an order of its own; the mean loss."""
        self._told.epoch = self.epoch
        self._order.manual_seed(self._schedule.seed + self.epoch)
        self._learner.train()
        losses = [self._step(batch) for batch in self._loader]
        self.epoch += 1
        return float(torch.stack(losses).mean())

    def _step(self, batch: list[TrainingSequence]) -> Tensor:
        loss = self._learner(batch)
        self._optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self._trained.values(), _LARGEST_GRADIENT)
        self._optimizer.step()
        self._scheduler.step()
        return loss.detach()

    def weights(self) -> dict[str, Tensor]:
        """What is trained as it is now, by its name; a copy on the CPU."""
        return {name: weight.detach().to("cpu", copy=True) for name, weight in self._trained.items()}

    def optimizer_state(self) -> dict[str, Any]:
        return self._optimizer.state_dict()

    def state(self) -> dict[str, Any]:
        """All that a training needs to go on from here."""
        return {
            "epoch": self.epoch,
            "weights": self.weights(),
            "optimizer": self.optimizer_state(),
            "scheduler": self._scheduler.state_dict(),
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Into what is trained, by name. Raises KeyError or RuntimeError for weights of another model."""
        with torch.no_grad():
            for name, weight in self._trained.items():
                weight.copy_(weights[name])

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, ValueError or RuntimeError for a state of another training."""
        self.load_weights(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        self.epoch = state["epoch"]


class _AugmentedDataset(Dataset[TrainingSequence]):
    """Of each example one way of telling it, by epoch and seed."""

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        self.epoch = 0
        self._examples = examples
        self._seed = seed

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> TrainingSequence:
        example = self._examples[index]
        return example[np.random.default_rng([self._seed, self.epoch, index]).integers(len(example))]
