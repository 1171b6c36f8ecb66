"""What a checkpoint file holds, from its names and shapes alone; no weight is read."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simple_clip_lstm_ros.checkpoint.archive import Archive, tensor_refs
from simple_clip_lstm_ros.checkpoint.derive import COMPONENTS
from simple_clip_lstm_ros.checkpoint.unpickler import TensorRef
from simple_clip_lstm_ros.errors import CheckpointError

_STATE_KEYS = ("model_state_dict", "state_dict", "model")
_WRAPPERS = ("module.", "model.", "_orig_mod.")
_LM_HEAD = "kosmos_model.text_model.lm_head.weight"


@dataclass(frozen=True)
class Description:
    """An open file: its tensors under the model's names, what was left aside (`notes`), what the training wrote."""

    archive: Archive
    tensors: dict[str, TensorRef]
    notes: tuple[str, ...]
    metadata: dict[str, Any]
    stated_config: dict[str, Any] | None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: ref.shape for name, ref in self.tensors.items()}


def describe(path: str | Path) -> Description:
    """Open the `.pth` at `path`. Raises CheckpointError for anything but a torch.save file of tensors and data."""
    archive = Archive.open(Path(path))
    content = archive.content
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__} and not a dict with a state dict")
    key = next((key for key in _STATE_KEYS if isinstance(content.get(key), dict)), None)
    tensors, notes = _normalise(content[key] if key else content, path)
    rest = {name: value for name, value in content.items() if key and name != key}
    stated = rest.pop("policy_config", None)
    if stated is not None and not isinstance(stated, dict):
        raise CheckpointError(f"{path}: its policy_config is a {type(stated).__name__} and not a dict")
    rest.pop("optimizer_state_dict", None)
    return Description(archive, tensors, notes, _plain_metadata(rest), stated)


def _normalise(state: Mapping[Any, Any], path: str | Path) -> tuple[dict[str, TensorRef], tuple[str, ...]]:
    tensors: dict[str, TensorRef] = {}
    notes = []
    for original, ref in state.items():
        if not isinstance(ref, TensorRef):
            continue
        name = _unwrapped(str(original))
        if name == _LM_HEAD:
            notes.append(f"{name} left aside: the language model's output layer is not used")
        elif name.endswith(".position_ids"):
            notes.append(f"{name} left aside: the model makes this buffer itself")
        elif name in tensors:
            raise CheckpointError(f"{path} holds {name} twice, under different prefixes")
        else:
            tensors[name] = ref
    return tensors, tuple(notes)


def _unwrapped(name: str) -> str:
    """Without what DataParallel, Lightning and torch.compile put in front."""
    while name.partition(".")[0] not in COMPONENTS:
        prefix = next((prefix for prefix in _WRAPPERS if name.startswith(prefix)), None)
        if prefix is None:
            break
        name = name[len(prefix) :]
    return name


def _plain_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, strings and settings for people; whatever holds tensors is not metadata."""
    return {str(name): _plain(value) for name, value in values.items() if not _holds_tensors(value)}


def _holds_tensors(value: Any) -> bool:
    return next(tensor_refs(value), None) is not None


def _plain(value: Any) -> Any:
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
