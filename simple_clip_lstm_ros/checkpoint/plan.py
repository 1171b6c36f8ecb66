"""All that is decided before a byte of weights is read: model, device, precision, and that the memory suffices."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from simple_clip_lstm_ros.checkpoint.blueprint import Blueprint, open_blueprint
from simple_clip_lstm_ros.checkpoint.layers import FEW_LAYERS, count_layers, parse_layers
from simple_clip_lstm_ros.engine.budget import Need, capacity, fits
from simple_clip_lstm_ros.engine.engines import Way, engines
from simple_clip_lstm_ros.engine.memory import Memory, clear_memory, is_out_of_memory, read_memory
from simple_clip_lstm_ros.engine.precision import candidates, resolve_device
from simple_clip_lstm_ros.engine.quantise import what_lacks
from simple_clip_lstm_ros.errors import DeviceError, MemoryBudgetError, first_line
from simple_clip_lstm_ros.policy.inputs import Texts
from simple_clip_lstm_ros.policy.processor_files import find_processors


@dataclass(frozen=True)
class Plan:
    """A load for which the memory should suffice. `why` tells how device, precision and engine were chosen."""

    survey: Survey
    way: Way
    need: Need
    why: str

    @contextmanager
    def carried_out(self) -> Iterator[None]:
        """Around the load and the first steps. Raises MemoryBudgetError where memory does not suffice after all."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryBudgetError(self.survey.overflow(self, first_line(error))) from None


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
        return Plan(self, way, need, f"{way} on {self.device}{told}")

    def overflow(self, plan: Plan, told: str) -> str:
        """Why what was planned did not fit after all, as a library `told` it, and what next to try."""
        path, name = self.blueprint.description.path, plan.way.precision.name
        problem = f"{path} at precision {name} was to need {plan.need}, but memory ran out: {told}"
        smaller = (what for what, need in self._narrower({name}) if need.peak < plan.need.peak)
        return f"{problem}; free memory, or try {next(smaller, 'a smaller model')}"

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
    texts = Texts(find_processors(blueprint.description.path, processors), blueprint.config, target)
    # Now that libraries and tokenizers are there, which the need counts as the runtime; without what they left behind.
    clear_memory()
    memory = read_memory(target)
    return Survey(blueprint, target, texts, memory, capacity(memory, memory_budget_gb))
