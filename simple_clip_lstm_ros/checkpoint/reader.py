"""Open a checkpoint, a `.pth` file or a bundle, from its names and shapes alone; no weight is read."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from simple_clip_lstm_ros.checkpoint.archive import Archive, tensor_refs
from simple_clip_lstm_ros.checkpoint.bundle import CONFIG, SCALE, SCALED, Bundle
from simple_clip_lstm_ros.checkpoint.infer_config import COMPONENTS
from simple_clip_lstm_ros.checkpoint.layer_pruning import Layers, kept_names
from simple_clip_lstm_ros.checkpoint.mapped_file import MappedTensor
from simple_clip_lstm_ros.checkpoint.unpickler import TensorRef
from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.engine.precision import stored_precision
from simple_clip_lstm_ros.engine.quantization import SCALE_DTYPE
from simple_clip_lstm_ros.errors import CheckpointError

_STATE_KEYS = ("model_state_dict", "state_dict", "model")
_WRAPPERS = ("module.", "model.", "_orig_mod.")
_LM_HEAD = "kosmos_model.text_model.lm_head.weight"


@dataclass(frozen=True)
class CheckpointInfo:
    """An open checkpoint: its tensors under the model's names, and the metadata of the training.

    `notes` lists ignored tensors. `scales` has those of the int8 tensors, by the tensors' names. `checked` weights were
    verified to be finite when a bundle was written.
    """

    path: Path
    tensors: dict[str, MappedTensor]
    notes: tuple[str, ...]
    metadata: dict[str, Any]
    stated_config: dict[str, Any] | None
    scales: dict[str, MappedTensor] = field(default_factory=dict)
    checked: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: stored.shape for name, stored in self.tensors.items()}

    @property
    def precision(self) -> str:
        """Return the precision at which the encoders are stored: fp32, bf16, fp16 or int8."""
        encoders = (stored for name, stored in self.tensors.items() if name.startswith("kosmos_model."))
        largest = max(encoders, key=lambda stored: stored.nbytes, default=None)
        return stored_precision(largest.dtype if largest else torch.float32, quantized=bool(self.scales))

    def with_layers(self, layers: Layers) -> CheckpointInfo:
        """Return the checkpoint pruned to these layers. Raise ConfigError."""
        kept = kept_names(self.tensors, layers)
        tensors = {new: self.tensors[old] for old, new in kept.items()}
        scales = {new: self.scales[old] for old, new in kept.items() if old in self.scales}
        return replace(self, tensors=tensors, scales=scales)


def open_checkpoint(path: str | Path) -> CheckpointInfo:
    """Open the checkpoint at `path`, or `builtin:NAME`.

    Raise CheckpointError for anything but a torch.save file of data or a bundle.
    """
    path = resolve_path(path)
    try:
        return _open(path)
    except OSError as error:  # a name that is too long, a folder without permission
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None


def _open(path: Path) -> CheckpointInfo:
    return _read_bundle(Bundle.open(path)) if path.is_dir() else _read_archive(Archive.open(path))


def _read_bundle(bundle: Bundle) -> CheckpointInfo:
    tensors = {name: stored for name, stored in bundle.tensors.items() if not name.endswith(SCALED)}
    scales = {name.removesuffix(SCALE): bundle.tensors[name] for name in bundle.tensors.keys() - tensors.keys()}
    _check_scales(bundle.path, tensors, scales)
    origin = bundle.config.get("origin")
    metadata = _plain_metadata(origin) if isinstance(origin, dict) else {}
    info = CheckpointInfo(bundle.path, tensors, (), metadata, bundle.config["policy_config"], scales, checked=True)
    stated, found = bundle.config.get("precision"), info.precision
    if stated != found:
        raise CheckpointError(f"{bundle.path}: {CONFIG} says {stated} but the tensors are {found}; convert it again")
    return info


def _check_scales(path: Path, tensors: Mapping[str, MappedTensor], scales: Mapping[str, MappedTensor]) -> None:
    quantized = {name for name, stored in tensors.items() if stored.dtype == torch.int8}
    for name in sorted(quantized ^ scales.keys()):
        raise CheckpointError(f"{path}: {name} is int8 without scales, or has scales and is not int8; convert it again")
    for name, scale in scales.items():
        if scale.shape != (tensors[name].shape[0], 1) or scale.dtype != SCALE_DTYPE:
            raise CheckpointError(f"{path}: the scales of {name} do not belong to it; convert it again")


def _read_archive(archive: Archive) -> CheckpointInfo:
    path, content = archive.path, archive.content
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__} and not a dict with a state dict")
    key = next((key for key in _STATE_KEYS if isinstance(content.get(key), dict)), None)
    refs, notes = _normalize_names(content[key] if key else content, path)
    tensors = {name: archive.map_tensor(ref) for name, ref in refs.items()}
    rest = {name: value for name, value in content.items() if key and name != key}
    stated = rest.pop("policy_config", None)
    if stated is not None and not isinstance(stated, dict):
        raise CheckpointError(f"{path}: its policy_config is a {type(stated).__name__} and not a dict")
    rest.pop("optimizer_state_dict", None)
    return CheckpointInfo(path, tensors, notes, _plain_metadata(rest), stated)


def _normalize_names(state: Mapping[Any, Any], path: str | Path) -> tuple[dict[str, TensorRef], tuple[str, ...]]:
    tensors: dict[str, TensorRef] = {}
    notes = []
    for original, ref in state.items():
        if not isinstance(ref, TensorRef):
            continue
        name = _unwrap(str(original))
        if name == _LM_HEAD:
            notes.append(f"{name} left aside: the language model's output layer is not used")
        elif name.endswith(".position_ids"):
            notes.append(f"{name} left aside: the model makes this buffer itself")
        elif name in tensors:
            raise CheckpointError(f"{path} holds {name} twice, under different prefixes")
        else:
            tensors[name] = ref
    return tensors, tuple(notes)


def _unwrap(name: str) -> str:
    """Remove the prefixes of DataParallel, Lightning and torch.compile."""
    while name.partition(".")[0] not in COMPONENTS:
        prefix = next((prefix for prefix in _WRAPPERS if name.startswith(prefix)), None)
        if prefix is None:
            break
        name = name[len(prefix) :]
    return name


def _plain_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as plain values, without anything that holds tensors."""
    return {str(name): _to_plain(value) for name, value in values.items() if not _holds_tensors(value)}


def _holds_tensors(value: Any) -> bool:
    return next(tensor_refs(value), None) is not None


def _to_plain(value: Any) -> Any:
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {str(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
