"""All that is decided before a byte of weights is read: model, device, precision, and that the memory suffices."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from simple_clip_lstm_ros.checkpoint.blueprint import Blueprint, open_blueprint
from simple_clip_lstm_ros.checkpoint.layers import FEW_LAYERS, count_layers, parse_layers
from simple_clip_lstm_ros.engine.budget import Need, capacity, fits
from simple_clip_lstm_ros.engine.memory import Memory, clear_memory, read_memory
from simple_clip_lstm_ros.engine.precision import Precision, candidates, resolve_device
from simple_clip_lstm_ros.engine.quantise import what_lacks
from simple_clip_lstm_ros.errors import DeviceError, MemoryBudgetError
from simple_clip_lstm_ros.policy.inputs import Texts, find_processors


@dataclass(frozen=True)
class Plan:
    """A load that will fit into `limit` bytes. `why` tells how device and precision were chosen."""

    blueprint: Blueprint
    device: torch.device
    precision: Precision
    texts: Texts
    need: Need
    limit: int
    why: str


@dataclass(frozen=True)
class Survey:
    """A checkpoint on this machine, with `limit` bytes for it, before a precision is chosen."""

    blueprint: Blueprint
    device: torch.device
    texts: Texts
    memory: Memory
    limit: int

    def options(self, precision: str = "auto") -> list[Precision]:
        return candidates(precision, self.device, self.blueprint.description.precision)

    def need(self, precision: Precision, blueprint: Blueprint | None = None) -> Need:
        return (blueprint or self.blueprint).need(precision, self.device, self.memory.process.anonymous)

    def choose(self, precision: str) -> Plan:
        """The first that fits of what `precision` allows. Raises MemoryBudgetError where none does."""
        wider: dict[str, Need] = {}
        for option in self.options(precision):
            need = self.need(option)
            if fits(need, self.memory, self.limit):
                break
            wider[option.name] = need
        else:
            raise MemoryBudgetError(self._refusal(wider))
        told = "".join(f"; {name} would need {other.peak / 1e9:.1f} GB" for name, other in wider.items())
        if option.name == "int8" and (lacking := what_lacks()):
            raise DeviceError(f"{lacking}{told}")
        why = f"{option.name} on {self.device}{told}"
        return Plan(self.blueprint, self.device, option, self.texts, need, self.limit, why)

    def _refusal(self, tried: dict[str, Need]) -> str:
        """Why nothing that was asked for fits, and the nearest that does."""
        needs = ", ".join(f"precision {name} needs {need}" for name, need in tried.items())
        cuda = self.memory.cuda
        gpu = f" and {cuda.free / 1e9:.1f} GB of {cuda.name}" if cuda and not cuda.shared else ""
        problem = f"{self.blueprint.description.path} does not fit into {self.limit / 1e9:.1f} GB{gpu}: {needs}"
        least, smallest = "", min(need.peak for need in tried.values())
        for name, need in self._narrower(tried):
            if fits(need, self.memory, self.limit):
                return f"{problem}; {name} needs {need.peak / 1e9:.1f} GB and fits"
            if need.peak < smallest:
                smallest, least = need.peak, f", not even {name}, which needs {need.peak / 1e9:.1f} GB"
        return (
            f"{problem}; nothing smaller fits{least}: free memory, or raise memory_budget_gb or the container's limit"
        )

    def _narrower(self, tried: Container[str]) -> Iterator[tuple[str, Need]]:
        """What else could be asked for: the other precisions, then the few layers that a cut model is left with."""
        options = [option for option in self.options() if option.name != "int8" or not what_lacks()]
        for option in options:
            if option.name not in tried:
                yield f"precision {option.name}", self.need(option)
        counts = count_layers(self.blueprint.description.tensors)
        few = {tower: kept for tower, kept in FEW_LAYERS.items() if counts[tower] > kept}
        if few and options:
            words = ",".join(f"{tower}={kept}" for tower, kept in few.items())
            need = self.need(options[-1], self.blueprint.with_layers(parse_layers(few)))
            yield f"precision {options[-1].name} with layers {words} (a cut model, its actions differ)", need


def survey(
    path: str | Path,
    processors: str | Path | None,
    device: str,
    overrides: Mapping[str, Any],
    memory_budget_gb: float,
) -> Survey:
    """Of the checkpoint at `path`, as load_policy takes it. Raises what load_policy raises."""
    target = resolve_device(device)
    blueprint = open_blueprint(path, overrides)
    texts = Texts(find_processors(Path(path), processors), blueprint.config, target)
    # Now that libraries and tokenizers are there, which the need counts as the runtime; without what they left behind.
    clear_memory()
    memory = read_memory(target)
    return Survey(blueprint, target, texts, memory, capacity(memory, memory_budget_gb))
