"""A checkpoint and the model that its tensors fit: everything but the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from simple_clip_lstm_ros.checkpoint.build import build_model, expected_shapes
from simple_clip_lstm_ros.checkpoint.infer_config import infer_config
from simple_clip_lstm_ros.checkpoint.layer_pruning import Layers, count_layers, parse_layers, pruned_config
from simple_clip_lstm_ros.checkpoint.reader import CheckpointInfo, open_checkpoint
from simple_clip_lstm_ros.checkpoint.state_dict_diff import diff_shapes
from simple_clip_lstm_ros.checkpoint.tensors import TensorCast, TensorPlan, is_embedding
from simple_clip_lstm_ros.engine.linear_backends import ExecutionConfig
from simple_clip_lstm_ros.engine.memory_estimate import MemoryEstimate, WeightBytes, estimate_memory
from simple_clip_lstm_ros.engine.precision import Precision
from simple_clip_lstm_ros.engine.quantization import linear_weights
from simple_clip_lstm_ros.errors import CheckpointError
from simple_clip_lstm_ros.policy.config import PolicyConfig, merge_settings
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM


@dataclass(frozen=True)
class CheckpointSpec:
    """`model` is on the meta device."""

    info: CheckpointInfo
    config: PolicyConfig
    model: SimpleCLIPLSTM

    @cached_property
    def weights(self) -> frozenset[str]:
        """Names of the weights of the encoders' Linear layers."""
        return linear_weights(self.model)

    def casts(self, precision: Precision) -> list[TensorCast]:
        found = self.info
        return [
            TensorCast(name, stored, found.scales.get(name), precision.dtype_of(name, self.weights), found.checked)
            for name, stored in found.tensors.items()
        ]

    def parts(self, execution: ExecutionConfig, device: torch.device) -> list[TensorPlan]:
        """Of a load. On a CPU the embedding tables stay in the file as they are: a step reads a few rows."""
        casts = self.casts(execution.precision)
        if device.type == "cpu":
            casts = [replace(cast, dtype=cast.stored.dtype) if is_embedding(cast.name) else cast for cast in casts]
        return [TensorPlan(cast, execution, device, cast.name in self.weights) for cast in casts]

    def estimate(self, execution: ExecutionConfig, device: torch.device, runtime: int) -> MemoryEstimate:
        """See `predict`."""
        return estimate_memory(
            self.config, self._sizes(execution, device), execution.precision.compute_dtype, device, runtime
        )

    def with_layers(self, layers: Layers) -> CheckpointSpec:
        """For a look at what fewer layers would need: the model is still the whole one."""
        return replace(self, info=self.info.reduced(layers))

    def _sizes(self, execution: ExecutionConfig, device: torch.device) -> WeightBytes:
        parts = self.parts(execution, device)
        buffers = sum(buffer.nbytes for buffer in self.model.buffers())
        return WeightBytes(
            mapped=sum(part.nbytes for part in parts if part.is_mapped and not is_embedding(part.name)),
            copied=sum(part.nbytes for part in parts if not part.is_mapped) + buffers,
            upcast=max(part.upcast for part in parts),
            unpacked=max(part.unpacked for part in parts),
        )


def open_spec(path: str | Path, overrides: Mapping[str, Any]) -> CheckpointSpec:
    """Of the checkpoint at `path`. Raises CheckpointError or ConfigError where its tensors fit no model."""
    info = open_checkpoint(path)
    try:
        info, config = apply_settings(info, overrides)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    model = build_model(config)
    mismatch = diff_shapes(expected_shapes(model), info.shapes)
    if mismatch:
        raise CheckpointError(f"{path} does not fit the model: {mismatch}")
    spec = CheckpointSpec(info, config, model)
    _check_dtypes(spec)
    return spec


def _check_dtypes(spec: CheckpointSpec) -> None:
    info = spec.info
    for name, stored in info.tensors.items():
        if not stored.dtype.is_floating_point and not (name in info.scales and name in spec.weights):
            raise CheckpointError(f"{info.path}: {name} is stored as {stored.dtype} and not as weights")


def apply_settings(info: CheckpointInfo, overrides: Mapping[str, Any]) -> tuple[CheckpointInfo, PolicyConfig]:
    """The config of what is described; both for the layers that are left, if `overrides` asks for some only."""
    overrides, stated = dict(overrides), info.stated_config or {}
    before = parse_layers(stated.get("layers") or {})
    counts = count_layers(info.tensors)
    wrong = next((tower for tower, kept in before.items() if len(kept) != counts[tower]), None)
    if wrong:
        raise CheckpointError(f"layers says {before[wrong]} of {wrong}, but the tensors have {counts[wrong]} layers")
    wanted = parse_layers(overrides.pop("layers", None) or {})
    if wanted:
        info = info.reduced(wanted)
        cut = {tower: kept for tower, kept in wanted.items() if len(kept) < counts[tower]}
        overrides = merge_settings(overrides, pruned_config(cut, before))
    return info, infer_config(info.shapes, stated, overrides)
