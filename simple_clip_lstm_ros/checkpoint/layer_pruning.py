"""Prune a model to some layers of its towers. The pruned model is a different model with different actions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.policy.config import merge_settings

Layers = dict[str, tuple[int, ...]]

# For each tower: its layers' tensors (prefix, number, suffix), and the path of the layer count in the config.
_TOWERS = {
    "kosmos_text": (r"(kosmos_model\.text_model\.model\.layers\.)(\d+)(\..*)", ("kosmos", "text_config", "layers")),
    "kosmos_vision": (
        r"(kosmos_model\.vision_model\.model\.encoder\.layers\.)(\d+)(\..*)",
        ("kosmos", "vision_config", "num_hidden_layers"),
    ),
    "clip_text": (
        r"(clip_model\.text_model\.encoder\.layers\.)(\d+)(\..*)",
        ("clip", "text_config", "num_hidden_layers"),
    ),
    "clip_vision": (
        r"(clip_model\.vision_model\.encoder\.layers\.)(\d+)(\..*)",
        ("clip", "vision_config", "num_hidden_layers"),
    ),
    "rnn": (r"(rnn\.(?:weight|bias)_[ih]h_l)(\d+)()", ("rnn_num_layers",)),
}
TOWERS = tuple(_TOWERS)
_MAX_LAYERS = 10_000  # a range is iterated in full

# A common pruning for machines without enough memory for the whole model.
FEW_LAYERS = {"kosmos_text": 6, "kosmos_vision": 6, "clip_text": 6, "clip_vision": 6, "rnn": 2}


def parse_layers(wanted: Any) -> Layers:
    """Convert {tower: N} (the first N layers) or {tower: [numbers]} to layer numbers. Raise ConfigError."""
    if not isinstance(wanted, Mapping):
        raise ConfigError(f"layers names a number or a list of layers for each of {', '.join(TOWERS)}, not {wanted!r}")
    layers = {}
    for tower, kept in wanted.items():
        if tower not in _TOWERS:
            raise ConfigError(f"layers: there is no {tower!r}; the towers are {', '.join(TOWERS)}")
        if _is_number(kept) and kept > _MAX_LAYERS:
            raise ConfigError(f"layers: no {tower} has {kept} layers")
        numbers = range(kept) if _is_number(kept) else kept
        if not isinstance(numbers, (range, list, tuple)) or not all(map(_is_number, numbers)):
            raise ConfigError(f"layers: {tower} is a number of layers or a list of their numbers, not {kept!r}")
        if not numbers or any(b <= a for a, b in pairwise(numbers)) or numbers[0] < 0:
            raise ConfigError(f"layers: {tower} keeps at least one layer, each once and in order, not {kept!r}")
        layers[str(tower)] = tuple(numbers)
    return layers


def count_layers(names: Iterable[str]) -> dict[str, int]:
    """Return the number of layers of each tower in these tensors."""
    names = list(names)
    return {
        tower: len({match[2] for name in names if (match := re.fullmatch(pattern, name))})
        for tower, (pattern, _) in _TOWERS.items()
    }


def kept_names(names: Iterable[str], layers: Layers) -> dict[str, str]:
    """Map the names of the kept tensors to their new names. Raise ConfigError."""
    kept = {name: name for name in names}
    counts = count_layers(kept)
    for tower, numbers in layers.items():
        if not counts[tower]:
            raise ConfigError(f"layers: this model has no {tower}")
        if numbers[-1] >= counts[tower]:
            raise ConfigError(f"layers: {tower} has the layers 0 to {counts[tower] - 1}, but no {numbers[-1]}")
        if tower == "rnn" and numbers[0] != 0:
            raise ConfigError("layers: rnn must keep layer 0, which alone takes the fused features")
        new_number = {str(number): str(index) for index, number in enumerate(numbers)}
        for name in tuple(kept):
            match = re.fullmatch(_TOWERS[tower][0], name)
            if match and match[2] in new_number:
                kept[name] = match[1] + new_number[match[2]] + match[3]
            elif match:
                del kept[name]
    return kept


def pruned_config(layers: Layers, before: Layers) -> dict[str, Any]:
    """Return the PolicyConfig settings of the model that keeps `layers`.

    The settings use the layer numbers of the original model; `before` has those of a model that was already pruned.
    """
    first = {
        tower: tuple(before[tower][n] for n in kept) if tower in before else kept for tower, kept in layers.items()
    }
    settings: dict[str, Any] = {"layers": before | first}
    for tower, kept in layers.items():
        count: Any = len(kept)
        for key in reversed(_TOWERS[tower][1]):
            count = {key: count}
        settings = merge_settings(settings, count)
    return settings


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
