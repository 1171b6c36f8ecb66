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
from simple_clip_lstm_ros.checkpoint.tensors import TensorCast, TensorPlan, is_embedding
from simple_clip_lstm_ros.engine.linear_backends import ExecutionConfig
from simple_clip_lstm_ros.engine.memory_estimate import MemoryEstimate, WeightBytes, estimate_memory
from simple_clip_lstm_ros.engine.precision import Precision
from simple_clip_lstm_ros.engine.quantization import linear_weights
from simple_clip_lstm_ros.errors import CheckpointError
from simple_clip_lstm_ros.policy.config import PolicyConfig, merge_settings
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM

Shapes = Mapping[str, tuple[int, ...]]


def diff_shapes(needed: Shapes, found: Shapes) -> str:
    """Return an empty string for equal shapes, else one line that describes the differences.

    The line has the number of differences per component, the first few, and the probable cause.
    """
    wrong = sorted(name for name in needed if name in found and tuple(found[name]) != tuple(needed[name]))
    kinds = {
        "missing": sorted(set(needed) - set(found)),
        "unexpected": sorted(set(found) - set(needed)),
        "of the wrong shape": wrong,
    }
    if not any(kinds.values()):
        return ""
    parts = []
    for component in sorted({name.partition(".")[0] for names in kinds.values() for name in names}):
        counted = [
            f"{len(own)} {kind} ({_format_first(own, needed, found)})"
            for kind, names in kinds.items()
            if (own := [name for name in names if name.partition(".")[0] == component])
        ]
        parts.append(f"{component}: {', '.join(counted)}")
    return "; ".join(parts) + f". {_probable_cause(kinds)}"


def _format_first(names: list[str], needed: Shapes, found: Shapes) -> str:
    shown = [
        f"{name} {list(found[name])} instead of {list(needed[name])}" if name in needed and name in found else name
        for name in names[:2]
    ]
    return ", ".join(shown) + (", ..." if len(names) > 2 else "")


def _probable_cause(kinds: Mapping[str, list[str]]) -> str:
    if kinds["of the wrong shape"]:
        return "Probably a config that belongs to another checkpoint, or a file that was edited"
    if kinds["missing"] and kinds["unexpected"]:
        return "Probably a checkpoint of another model, or one whose modules were renamed"
    if kinds["missing"]:
        return "Probably a file saved from an incomplete model, or one that was edited"
    return "Probably a model with parts that this one does not have"


@dataclass(frozen=True)
class CheckpointSpec:
    """An open checkpoint, its config and its model on the meta device."""

    info: CheckpointInfo
    config: PolicyConfig
    model: SimpleCLIPLSTM

    @cached_property
    def linear_weight_names(self) -> frozenset[str]:
        """Return the names of the weights of the encoders' Linear layers."""
        return linear_weights(self.model)

    def casts(self, precision: Precision) -> list[TensorCast]:
        """Return the cast of each tensor to `precision`."""
        info, linear = self.info, self.linear_weight_names
        return [
            TensorCast(name, stored, info.scales.get(name), precision.dtype_of(name, linear), info.checked)
            for name, stored in info.tensors.items()
        ]

    def tensor_plans(self, execution: ExecutionConfig, device: torch.device) -> list[TensorPlan]:
        """Return the plan of each tensor for a load.

        On a CPU the embedding tables stay in the file unchanged: a step reads only a few rows.
        """
        casts = self.casts(execution.precision)
        if device.type == "cpu":
            casts = [replace(cast, dtype=cast.stored.dtype) if is_embedding(cast.name) else cast for cast in casts]
        return [TensorPlan(cast, execution, device, cast.name in self.linear_weight_names) for cast in casts]

    def estimate(self, execution: ExecutionConfig, device: torch.device, runtime: int) -> MemoryEstimate:
        """Estimate the memory of a load; see `estimate_memory`."""
        return estimate_memory(
            self.config, self._sizes(execution, device), execution.precision.compute_dtype, device, runtime
        )

    def with_layers(self, layers: Layers) -> CheckpointSpec:
        """Return a spec to estimate a pruned model: only `info` is pruned, `model` stays complete."""
        return replace(self, info=self.info.with_layers(layers))

    def _sizes(self, execution: ExecutionConfig, device: torch.device) -> WeightBytes:
        plans = self.tensor_plans(execution, device)
        buffers = sum(buffer.nbytes for buffer in self.model.buffers())
        return WeightBytes(
            mapped=sum(plan.nbytes for plan in plans if plan.is_mapped and not is_embedding(plan.name)),
            copied=sum(plan.nbytes for plan in plans if not plan.is_mapped) + buffers,
            upcast=max(plan.upcast for plan in plans),
            unpacked=max(plan.unpacked for plan in plans),
        )


def open_spec(path: str | Path, overrides: Mapping[str, Any]) -> CheckpointSpec:
    """Open the checkpoint at `path` with its model.

    Raise CheckpointError or ConfigError if its tensors fit no model.
    """
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
        if not stored.dtype.is_floating_point and not (name in info.scales and name in spec.linear_weight_names):
            raise CheckpointError(f"{info.path}: {name} is stored as {stored.dtype} and not as weights")


def apply_settings(info: CheckpointInfo, overrides: Mapping[str, Any]) -> tuple[CheckpointInfo, PolicyConfig]:
    """Return the checkpoint and its config with `overrides`; prune both if they select layers.

    Raise CheckpointError or ConfigError for contradictory settings.
    """
    overrides, stated = dict(overrides), info.stated_config or {}
    before = parse_layers(stated.get("layers") or {})
    counts = count_layers(info.tensors)
    wrong = next((tower for tower, kept in before.items() if len(kept) != counts[tower]), None)
    if wrong:
        raise CheckpointError(f"layers says {before[wrong]} of {wrong}, but the tensors have {counts[wrong]} layers")
    wanted = parse_layers(overrides.pop("layers", None) or {})
    if wanted:
        info = info.with_layers(wanted)
        pruned = {tower: kept for tower, kept in wanted.items() if len(kept) < counts[tower]}
        overrides = merge_settings(overrides, pruned_config(pruned, before))
    return info, infer_config(info.shapes, stated, overrides)
