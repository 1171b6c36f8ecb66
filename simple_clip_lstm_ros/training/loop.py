"""A training loop for any module whose `forward` returns the loss of a batch of sequences.

Uses Hugging Face's accelerate: `accelerate launch` selects devices, several GPUs and several machines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import get_cosine_schedule_with_warmup

from simple_clip_lstm_ros.training.sequences import Example, TrainingSequence

_MAX_GRADIENT_NORM = 1.0
_WEIGHT_DECAY = 0.01
# Adam's default second decay of 0.999 keeps the statistics of an untrained model's first steps for too long.
_BETAS = (0.9, 0.98)
_WARM_UP_SHARE = 0.05  # share of the steps


def make_accelerator(device: str) -> Accelerator:
    """Return this process's accelerator: on `cpu`, or on the device that the launcher selected."""
    return Accelerator(cpu=device == "cpu")


@dataclass(frozen=True)
class TrainingConfig:
    """Hyperparameters: cosine learning rate with warm-up over all epochs; `batch` counts sequences."""

    epochs: int
    batch: int = 8
    learning_rate: float = 1e-3
    seed: int = 0


class TrainingLoop:
    """Trains all parameters that require gradients, with AdamW.

    On one machine, the same examples, config and seed give the same weights.
    """

    def __init__(
        self, module: nn.Module, examples: Sequence[Example], config: TrainingConfig, accelerator: Accelerator
    ) -> None:
        self.epoch = 0  # completed epochs
        self._config = config
        self.accelerator = accelerator
        self._trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        self._dataset = _AugmentedDataset(examples, config.seed)
        self._shuffle_rng = torch.Generator()
        loader = DataLoader(self._dataset, config.batch, shuffle=True, collate_fn=list, generator=self._shuffle_rng)
        optimizer = torch.optim.AdamW(
            self._trained.values(), config.learning_rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY
        )
        steps = config.epochs * len(loader)
        scheduler = get_cosine_schedule_with_warmup(optimizer, round(_WARM_UP_SHARE * steps), steps)
        self._module, self._optimizer, self._scheduler, self._loader = accelerator.prepare(
            module, optimizer, scheduler, loader
        )

    def run_epoch(self) -> float:
        """Train on each example once, in a shuffled order. Return the mean loss."""
        self._dataset.epoch = self.epoch
        self._shuffle_rng.manual_seed(self._config.seed + self.epoch)
        self._module.train()
        losses = [self._step(batch) for batch in self._loader]
        self.epoch += 1
        return float(torch.stack(losses).mean())

    def _step(self, batch: list[TrainingSequence]) -> Tensor:
        loss = self._module(batch)
        self._optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self._trained.values(), _MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._scheduler.step()
        return loss.detach()

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the trained parameters on the CPU, by name."""
        return {name: weight.detach().to("cpu", copy=True) for name, weight in self._trained.items()}

    def optimizer_state(self) -> dict[str, Any]:
        return self._optimizer.state_dict()

    def state(self) -> dict[str, Any]:
        """Return everything needed to resume the training from here."""
        return {
            "epoch": self.epoch,
            "weights": self.weights(),
            "optimizer": self.optimizer_state(),
            "scheduler": self._scheduler.state_dict(),
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load the trained parameters by name. Raise KeyError or RuntimeError for weights of another model."""
        with torch.no_grad():
            for name, weight in self._trained.items():
                weight.copy_(weights[name])

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state. Raise KeyError, ValueError or RuntimeError for that of another training."""
        self.load_weights(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        self.epoch = state["epoch"]


class _AugmentedDataset(Dataset[TrainingSequence]):
    """Selects one variant of each example (original or mirrored), by epoch and seed."""

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        self.epoch = 0
        self._examples = examples
        self._seed = seed

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> TrainingSequence:
        example = self._examples[index]
        return example[np.random.default_rng([self._seed, self.epoch, index]).integers(len(example))]
