"""A checkpoint and the model that its tensors fit: everything but the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from simple_clip_lstm_ros.checkpoint.build import build, needed_shapes
from simple_clip_lstm_ros.checkpoint.cast import Cast
from simple_clip_lstm_ros.checkpoint.compare import compare
from simple_clip_lstm_ros.checkpoint.derive import derive_config
from simple_clip_lstm_ros.checkpoint.describe import Description, describe
from simple_clip_lstm_ros.checkpoint.layers import Layers, count_layers, parse_layers, reduced_config
from simple_clip_lstm_ros.checkpoint.part import Part, is_table
from simple_clip_lstm_ros.engine.budget import Need, Weights, predict
from simple_clip_lstm_ros.engine.engines import Way
from simple_clip_lstm_ros.engine.precision import Precision
from simple_clip_lstm_ros.engine.quantise import linear_weights
from simple_clip_lstm_ros.errors import CheckpointError
from simple_clip_lstm_ros.policy.config import PolicyConfig, merged
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM


@dataclass(frozen=True)
class Blueprint:
    """`model` is on the meta device."""

    description: Description
    config: PolicyConfig
    model: SimpleCLIPLSTM

    @cached_property
    def weights(self) -> frozenset[str]:
        """Names of the weights of the encoders' Linear layers."""
        return linear_weights(self.model)

    def casts(self, precision: Precision) -> list[Cast]:
        found = self.description
        return [
            Cast(name, stored, found.scales.get(name), precision.dtype_of(name, self.weights), found.checked)
            for name, stored in found.tensors.items()
        ]

    def parts(self, way: Way, device: torch.device) -> list[Part]:
        """Of a load. On a CPU the embedding tables stay in the file as they are: a step reads a few rows."""
        casts = self.casts(way.precision)
        if device.type == "cpu":
            casts = [replace(cast, dtype=cast.stored.dtype) if is_table(cast.name) else cast for cast in casts]
        return [Part(cast, way, device, cast.name in self.weights) for cast in casts]

    def need(self, way: Way, device: torch.device, runtime: int) -> Need:
        """See `predict`."""
        return predict(self.config, self._sizes(way, device), way.precision.arithmetic, device, runtime)

    def with_layers(self, layers: Layers) -> Blueprint:
        """For a look at what fewer layers would need: the model is still the whole one."""
        return replace(self, description=self.description.reduced(layers))

    def _sizes(self, way: Way, device: torch.device) -> Weights:
        parts = self.parts(way, device)
        buffers = sum(buffer.nbytes for buffer in self.model.buffers())
        return Weights(
            mapped=sum(part.nbytes for part in parts if part.is_mapped and not is_table(part.name)),
            copied=sum(part.nbytes for part in parts if not part.is_mapped) + buffers,
            widened=max(part.widened for part in parts),
            unpacked=max(part.unpacked for part in parts),
        )


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
    blueprint = Blueprint(description, config, model)
    _refuse_integers(blueprint)
    return blueprint


def _refuse_integers(blueprint: Blueprint) -> None:
    description = blueprint.description
    for name, stored in description.tensors.items():
        if not stored.dtype.is_floating_point and not (name in description.scales and name in blueprint.weights):
            raise CheckpointError(f"{description.path}: {name} is stored as {stored.dtype} and not as weights")


def configured(description: Description, overrides: Mapping[str, Any]) -> tuple[Description, PolicyConfig]:
    """The config of what is described; both for the layers that are left, if `overrides` asks for some only."""
    overrides, stated = dict(overrides), description.stated_config or {}
    before = parse_layers(stated.get("layers") or {})
    counts = count_layers(description.tensors)
    wrong = next((tower for tower, kept in before.items() if len(kept) != counts[tower]), None)
    if wrong:
        raise CheckpointError(f"layers says {before[wrong]} of {wrong}, but the tensors have {counts[wrong]} layers")
    wanted = parse_layers(overrides.pop("layers", None) or {})
    if wanted:
        description = description.reduced(wanted)
        cut = {tower: kept for tower, kept in wanted.items() if len(kept) < counts[tower]}
        overrides = merged(overrides, reduced_config(cut, before))
    return description, derive_config(description.shapes, stated, overrides)
