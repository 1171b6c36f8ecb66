"""Collect the report of `inspect` about a file, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from simple_clip_lstm_ros.checkpoint.build import build_model, expected_shapes
from simple_clip_lstm_ros.checkpoint.infer_config import COMPONENTS, feature_sums
from simple_clip_lstm_ros.checkpoint.reader import CheckpointInfo, open_checkpoint
from simple_clip_lstm_ros.checkpoint.spec import apply_settings, diff_shapes
from simple_clip_lstm_ros.errors import SimpleClipLstmError
from simple_clip_lstm_ros.policy.config import PolicyConfig, choices_of


def build_report(path: str | Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Report everything that the names and shapes of a `.pth` or a bundle determine.

    `problem` says why it would not load, if so. Raise CheckpointError only if the file cannot be opened as a checkpoint
    at all.
    """
    info, config, problem = _infer_config(open_checkpoint(path), overrides)
    return {
        "file": str(path),
        "bytes": _size(info.path),
        "keys": len(info.tensors),
        "parameters": sum(prod(stored.shape) for stored in info.tensors.values()),
        "precision": info.precision,
        "metadata": info.metadata,
        "untrained": bool((info.stated_config or {}).get("untrained")),
        "reductions": config.reductions if config else "",
        "components": _components(info, config),
        "notes": list(info.notes),
        "features": list(config.features) if config else [],
        "assumed": _list_assumed(config) if config else [],
        "policy_config": config.to_dict() if config else None,
        "problem": problem,
    }


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size


def _infer_config(
    info: CheckpointInfo, overrides: Mapping[str, Any]
) -> tuple[CheckpointInfo, PolicyConfig | None, str]:
    try:
        info, config = apply_settings(info, overrides)
        return info, config, diff_shapes(expected_shapes(build_model(config)), info.shapes)
    except SimpleClipLstmError as error:
        return info, None, str(error)


def _components(info: CheckpointInfo, config: PolicyConfig | None) -> list[dict[str, Any]]:
    rows = []
    held = {name.partition(".")[0] for name in info.tensors}
    for component in (*COMPONENTS, *sorted(held - set(COMPONENTS))):
        own = [ref for name, ref in info.tensors.items() if name.partition(".")[0] == component]
        if own:
            rows.append(
                {
                    "name": component,
                    "tensors": len(own),
                    "parameters": sum(prod(ref.shape) for ref in own),
                    "dtypes": sorted({str(ref.dtype).removeprefix("torch.") for ref in own}),
                    "structure": _structure(component, config) if config else "",
                }
            )
    return rows


def _structure(component: str, config: PolicyConfig) -> str:
    if component in ("kosmos_model", "clip_model"):
        encoder = config.kosmos if component == "kosmos_model" else config.clip or {}
        return ", ".join(_tower(tower, encoder[f"{tower}_config"]) for tower in ("text", "vision"))
    if component == "feature_fusion":
        return f"{config.feature_size} -> {config.fusion_size}"
    if component == "rnn":
        return f"LSTM, {config.rnn_num_layers} layers, {config.rnn_input_size} -> {config.rnn_hidden_size}"
    if component == "actions":
        kinds = (f"Linear {s[1]} -> {s[0]}" if len(s) == 2 else f"LayerNorm {s[0]}" for s in config.mlp.values())
        return ", ".join(f"{index} {kind}" for index, kind in zip(config.mlp, kinds, strict=True))
    return ""


def _tower(name: str, settings: Mapping[str, Any]) -> str:
    layers = settings.get("layers", settings.get("num_hidden_layers"))
    return f"{name} {layers} layers x {settings.get('embed_dim', settings.get('hidden_size'))}"


def _list_assumed(config: PolicyConfig) -> list[dict[str, Any]]:
    return [
        {"setting": name, "value": value, "alternatives": _alternatives(config, name, value)}
        for name in config.assumed
        for value in [_value(config, name)]
    ]


def _value(config: PolicyConfig, name: str) -> Any:
    value: Any = config.to_dict()
    for part in name.split("."):
        value = value[part]
    return value


def _alternatives(config: PolicyConfig, name: str, value: Any) -> list[str]:
    if name == "features":
        return [" + ".join(names) for names in feature_sums(config, config.feature_size) if list(names) != value]
    if "." in name:
        return ["any divisor of the width"]
    choices = choices_of(name)
    return [str(choice) for choice in choices if choice != value] if choices else ["any"]
