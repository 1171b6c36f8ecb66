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
from simple_clip_lstm_ros.engine.engines import Way, engines
from simple_clip_lstm_ros.engine.memory import Memory, clear_memory, read_memory
from simple_clip_lstm_ros.engine.precision import candidates, resolve_device
from simple_clip_lstm_ros.engine.quantise import what_lacks
from simple_clip_lstm_ros.errors import DeviceError, MemoryBudgetError
from simple_clip_lstm_ros.policy.inputs import Texts, find_processors


@dataclass(frozen=True)
class Plan:
    """A load that will fit into `limit` bytes. `why` tells how device, precision and engine were chosen."""

    blueprint: Blueprint
    device: torch.device
    way: Way
    texts: Texts
    need: Need
    limit: int
    why: str


@dataclass(frozen=True)
class Survey:
    """A checkpoint on this machine, with `limit` bytes for it, before precision and engine are chosen."""

    blueprint: Blueprint
    device: torch.device
    texts: Texts
    memory: Memory
    limit: int

    def ways(self, precision: str = "auto", engine: str = "auto") -> list[Way]:
        """What these allow here, best first. Raises ConfigError or DeviceError where that is nothing."""
        found, lacking = [], ""
        for option in candidates(precision, self.device, self.blueprint.description.precision):
            for each in engines(engine, option):
                lacks = each.lacks(option, self.device)
                lacking = lacking or lacks
                if not lacks:
                    found.append(Way(option, each))
        if not found:
            raise DeviceError(lacking)
        return found

    def need(self, way: Way, blueprint: Blueprint | None = None) -> Need:
        return (blueprint or self.blueprint).need(way, self.device, self.memory.process.anonymous)

    def choose(self, precision: str = "auto", engine: str = "auto") -> Plan:
        """The first that fits of what these allow. Raises as `ways` does, and MemoryBudgetError where none fits."""
        wider: dict[Way, Need] = {}
        for way in self.ways(precision, engine):
            need = self.need(way)
            if fits(need, self.memory, self.limit):
                break
            wider[way] = need
        else:
            raise MemoryBudgetError(self._refusal({way.precision.name: need for way, need in wider.items()}))
        told = "".join(f"; {other} would need {more.peak / 1e9:.1f} GB" for other, more in wider.items())
        if way.precision.name == "int8" and (lacking := what_lacks()):
            raise DeviceError(f"{lacking}{told}")
        return Plan(self.blueprint, self.device, way, self.texts, need, self.limit, f"{way} on {self.device}{told}")

    def _refusal(self, tried: dict[str, Need]) -> str:
        """Why no precision that was asked for fits, and the nearest that does."""
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
        ways = [way for way in self.ways() if way.precision.name != "int8" or not what_lacks()]
        for way in ways:
            if way.precision.name not in tried:
                yield f"precision {way.precision.name}", self.need(way)
        counts = count_layers(self.blueprint.description.tensors)
        few = {tower: kept for tower, kept in FEW_LAYERS.items() if counts[tower] > kept}
        if few and ways:
            words = ",".join(f"{tower}={kept}" for tower, kept in few.items())
            need = self.need(ways[-1], self.blueprint.with_layers(parse_layers(few)))
            yield f"precision {ways[-1].precision.name} with layers {words} (a cut model, its actions differ)", need


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
