"""All that is decided before a byte of weights is read: model, device, precision, and that the memory suffices."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch

from simple_clip_lstm_ros.checkpoint.build import build, needed_shapes
from simple_clip_lstm_ros.checkpoint.cast import Cast
from simple_clip_lstm_ros.checkpoint.compare import compare
from simple_clip_lstm_ros.checkpoint.derive import derive_config
from simple_clip_lstm_ros.checkpoint.describe import Description, describe
from simple_clip_lstm_ros.checkpoint.layers import FEW_LAYERS, count_layers, parse_layers, reduced_config
from simple_clip_lstm_ros.engine.budget import Need, Weights, capacity, fits, predict
from simple_clip_lstm_ros.engine.memory import Memory, read_memory
from simple_clip_lstm_ros.engine.precision import Precision, candidates, resolve_device
from simple_clip_lstm_ros.engine.quantise import linear_weights, require_library
from simple_clip_lstm_ros.errors import CheckpointError, MemoryBudgetError
from simple_clip_lstm_ros.policy.config import PolicyConfig, merged
from simple_clip_lstm_ros.policy.inputs import Texts, find_processors
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM


@dataclass(frozen=True)
class Blueprint:
    """A checkpoint and the model (on the meta device) that its tensors fit."""

    description: Description
    config: PolicyConfig
    model: SimpleCLIPLSTM

    def casts(self, precision: Precision) -> list[Cast]:
        linear, found = linear_weights(self.model), self.description
        return [
            Cast(name, stored, found.scales.get(name), precision.dtype_of(name, linear), found.checked)
            for name, stored in found.tensors.items()
        ]

    def need(self, precision: Precision, device: torch.device, runtime: int) -> Need:
        return predict(self.config, self._weights(precision, device), precision.dtype, device, runtime)

    def _weights(self, precision: Precision, device: torch.device) -> Weights:
        mapped = copied = 0
        for cast in self.casts(precision):
            if not cast.is_as_stored or device.type != "cpu":
                copied += cast.nbytes
            elif not _is_table(cast.name):
                mapped += cast.nbytes
        copied += sum(buffer.nbytes for buffer in self.model.buffers())
        shapes = self.description.shapes
        largest = max(prod(shapes[name]) for name in linear_weights(self.model) & shapes.keys())
        return Weights(mapped, copied, largest * precision.dtype.itemsize)


@dataclass(frozen=True)
class Plan:
    """A load that will fit into `capacity` bytes. `why` tells in one line how the precision was chosen."""

    blueprint: Blueprint
    device: torch.device
    precision: Precision
    texts: Texts
    need: Need
    capacity: int
    why: str


def open_blueprint(path: str | Path, overrides: Mapping[str, Any]) -> Blueprint:
    """Of the checkpoint at `path`. Raises CheckpointError or ConfigError where its tensors fit no model."""
    description = describe(path)
    try:
        description, config = configured(description, overrides)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    model = build(config)
    mismatch = compare(needed_shapes(model), description.shapes)
    if mismatch:
        raise CheckpointError(f"{path} does not fit the model: {mismatch}")
    return Blueprint(description, config, model)


def configured(description: Description, overrides: Mapping[str, Any]) -> tuple[Description, PolicyConfig]:
    """The config of what is described, once the layers that `overrides` asks for are left."""
    overrides = dict(overrides)
    stated = description.stated_config or {}
    wanted = parse_layers(overrides.pop("layers", None) or {})
    if wanted:
        description = description.reduced(wanted)
        overrides = merged(overrides, reduced_config(wanted, parse_layers(stated.get("layers") or {})))
    return description, derive_config(description.shapes, stated, overrides)


def plan(
    path: str | Path,
    processors: str | Path | None,
    device: str,
    precision: str,
    overrides: Mapping[str, Any],
    memory_budget_gb: float,
) -> Plan:
    """The load of the checkpoint at `path`, as load_policy takes it. Raises what load_policy raises."""
    target = resolve_device(device)
    blueprint = open_blueprint(path, overrides)
    options = candidates(precision, target, blueprint.description.precision)
    texts = Texts(find_processors(Path(path), processors), blueprint.config, target)
    memory = read_memory(target)
    limit = capacity(memory, memory_budget_gb)
    tried: dict[str, Need] = {}
    for option in options:
        need = blueprint.need(option, target, memory.process.anonymous)
        if fits(need, memory, limit):
            break
        tried[option.name] = need
    else:
        raise MemoryBudgetError(_refusal(blueprint, target, memory, limit, tried))
    if option.name == "int8":
        require_library()
    wider = "".join(f"; {name} would need {need.peak / 1e9:.1f} GB" for name, need in tried.items())
    why = f"precision {option.name} on {target}: needs {need}; there are {limit / 1e9:.1f} GB{wider}"
    return Plan(blueprint, target, option, texts, need, limit, why)


def _refusal(blueprint: Blueprint, device: torch.device, memory: Memory, limit: int, tried: dict[str, Need]) -> str:
    """Why nothing that was asked for fits, and the nearest that does."""
    needs = "; ".join(f"precision {name} needs {need}" for name, need in tried.items())
    problem = f"{blueprint.description.path} does not fit into {limit / 1e9:.1f} GB: {needs}"
    least = ""
    for name, need in _narrower(blueprint, device, memory.process.anonymous, tried):
        if fits(need, memory, limit):
            return f"{problem}. {name} fits: it needs {need.peak / 1e9:.1f} GB"
        least = f"; the least, {name}, needs {need.peak / 1e9:.1f} GB"
    return f"{problem}. Nothing smaller fits{least}: free memory, or raise memory_budget_gb or the container's limit"


def _narrower(
    blueprint: Blueprint, device: torch.device, runtime: int, tried: Container[str]
) -> Iterator[tuple[str, Need]]:
    """What else could be asked for: the other precisions, then the layers that the smallest sensible model keeps."""
    options = candidates("auto", device, blueprint.description.precision)
    for option in options:
        if option.name not in tried:
            yield f"precision {option.name}", blueprint.need(option, device, runtime)
    counts = count_layers(blueprint.description.tensors)
    few = {tower: range(kept) for tower, kept in FEW_LAYERS.items() if counts.get(tower, 0) > kept}
    if few:
        reduced = replace(blueprint, description=blueprint.description.reduced(parse_layers(few)))
        words = ",".join(f"{tower}={len(kept)}" for tower, kept in few.items())
        need = reduced.need(options[-1], device, runtime)
        yield f"precision {options[-1].name} with layers {words} (a cut model: its actions differ)", need


def _is_table(name: str) -> bool:
    """Of an embedding a step touches a few rows only."""
    return name.endswith(("embed_tokens.weight", "token_embedding.weight"))
