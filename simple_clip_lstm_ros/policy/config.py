"""PolicyConfig: the sizes of a policy and all settings that its tensors do not determine.

Training files do not state their preprocessing (text pooling, image normalization, ...), and the training files of this
family disagree on all of it. Each preprocessing field therefore has a default, and `assumed` lists the fields that
neither the file nor the user has stated.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from simple_clip_lstm_ros.control.velocity import AXES
from simple_clip_lstm_ros.errors import ConfigError

# Outputs of the two encoders by Hugging Face's names, in the order in which feature sums are searched.
FEATURES = (
    "kosmos_text",  # text tower's last_hidden_state, pooled
    "kosmos_image",  # mean of the projected latents that represent the image in the text tower
    "kosmos_vision",  # vision tower's pooler_output
    "clip_vision",  # vision tower's pooler_output
    "clip_text",  # text tower's pooler_output
    "clip_image_embeds",  # visual_projection of it, not L2-normalized
    "clip_text_embeds",  # text_projection of it, not L2-normalized
)


def _preprocessing(default: Any, *choices: Any) -> Any:
    """Return a field that no tensor determines; without `choices`, any value of its type is valid."""
    return field(default=default, metadata={"preprocessing": True, "choices": choices})


@dataclass(frozen=True)
class PolicyConfig:
    """Sizes and preprocessing of one policy. Raises ConfigError when they contradict each other.

    `kosmos` and `clip` are keyword arguments of Hugging Face's Kosmos2Config and CLIPConfig (`clip` None: no CLIP).
    `fusion_size` is the output width of `feature_fusion` (None: no fusion, the features go to the LSTM unchanged).
    `mlp` maps the index of each module of `actions.mlp` to its weight shape: 2-D is a Linear, 1-D a LayerNorm.

    A reduced model states its reductions, because its actions differ: `image_size` is the input side of the encoders in
    pixels if it is smaller than in training; `layers` maps each pruned tower to the numbers of its remaining layers.
    """

    kosmos: dict[str, Any]
    clip: dict[str, Any] | None
    fusion_size: int | None
    rnn_hidden_size: int
    rnn_num_layers: int
    mlp: dict[int, tuple[int, ...]]

    features: tuple[str, ...] = _preprocessing(("kosmos_text",))
    prompt: str = _preprocessing("<image>{instruction}")
    kosmos_text_pooling: str = _preprocessing("mean", "mean", "last", "first")
    image_normalization: str = _preprocessing("clip", "clip", "imagenet", "unit")
    image_crop: str = _preprocessing("none", "none", "center")
    image_channels: str = _preprocessing("rgb", "rgb", "bgr")
    rotate_180: bool = _preprocessing(False, False, True)
    mlp_activation: str = _preprocessing("relu", "relu", "gelu", "silu", "tanh")
    final_tanh: bool = _preprocessing(False, False, True)
    history: str = _preprocessing("carry", "carry", "window")
    window_size: int = _preprocessing(8)
    action_axes: tuple[str, ...] = _preprocessing(("linear.x", "angular.z"))
    action_scale: tuple[float, ...] = _preprocessing((1.0, 1.0))
    action_offset: tuple[float, ...] = _preprocessing((0.0, 0.0))

    image_size: int | None = None
    layers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    untrained: bool = False
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for item in fields(self):
            value, choices = getattr(self, item.name), item.metadata.get("choices")
            if choices and value not in choices:
                raise ConfigError(f"{item.name}: {value!r} is not one of {', '.join(map(str, choices))}")
        self._check_features()
        self._check_head()
        self._check_image_size()
        if not 1 <= self.window_size <= 1024:
            bound = "at least 1" if self.window_size < 1 else "at most 1024"
            raise ConfigError(f"window_size must be {bound}, not {self.window_size}")
        if not self.prompt.startswith("<image>") or "{instruction}" not in self.prompt:
            raise ConfigError(f"prompt must begin with <image> and contain {{instruction}}, not {self.prompt!r}")

    def _check_features(self) -> None:
        widths = feature_widths(self.kosmos, self.clip)
        unknown = [name for name in self.features if name not in widths]
        if unknown or not self.features:
            problem = f"features: {unknown[0]!r} is not among" if unknown else "features is empty; choose from"
            raise ConfigError(f"{problem} what this model gives: {', '.join(widths)}")

    def _check_head(self) -> None:
        width = self.rnn_hidden_size
        for index, shape in sorted(self.mlp.items()):
            if len(shape) not in (1, 2) or min(shape) < 1 or shape[-1] != width:
                raise ConfigError(f"actions.mlp.{index} has weights of {list(shape)} but is given {width} values")
            width = shape[0]
        if not self.mlp or len(max(self.mlp.items())[1]) != 2:
            raise ConfigError("actions.mlp does not end in a Linear layer")
        unknown = [axis for axis in self.action_axes if axis not in AXES]
        if unknown or len(set(self.action_axes)) != len(self.action_axes):
            raise ConfigError(f"action_axes must be different names of {', '.join(AXES)}, not {list(self.action_axes)}")
        if self.action_size != len(self.action_axes):
            raise ConfigError(
                f"the action head has {self.action_size} outputs but action_axes names {len(self.action_axes)} "
                f"({', '.join(self.action_axes)}); name one axis for each output in action_axes"
            )
        for name in ("action_scale", "action_offset"):
            values = getattr(self, name)
            if len(values) != self.action_size or not all(math.isfinite(value) for value in values):
                raise ConfigError(f"{name} needs {self.action_size} finite values, not {list(values)}")

    def _check_image_size(self) -> None:
        towers = [encoder["vision_config"] for encoder in (self.kosmos, self.clip) if encoder]
        if self.image_size is None or not all({"patch_size", "image_size"} <= tower.keys() for tower in towers):
            return
        least = max(tower["patch_size"] for tower in towers)
        most = max(tower["image_size"] for tower in towers)
        if not least <= self.image_size <= most:
            raise ConfigError(f"image_size: {self.image_size} is not between a patch ({least}) and the whole ({most})")

    def input_size(self, encoder: Mapping[str, Any]) -> int:
        """Return the side of the square input image of `encoder` in pixels, whole patches only.

        `encoder` is `kosmos` or `clip`.
        """
        vision = encoder["vision_config"]
        trained, patch = vision["image_size"], vision["patch_size"]
        if self.image_size is None or self.image_size >= trained:
            return trained
        return self.image_size // patch * patch

    @property
    def reductions(self) -> str:
        """Return in words what a reduced model lacks; empty for a complete model."""
        parts = [f"{tower} has layers {_format_ranges(kept)} only" for tower, kept in self.layers.items()]
        encoders = {name: encoder for name, encoder in (("kosmos", self.kosmos), ("clip", self.clip)) if encoder}
        sizes = {name: self.input_size(encoder) for name, encoder in encoders.items()}
        if any(size < encoders[name]["vision_config"]["image_size"] for name, size in sizes.items()):
            parts.append("images are reduced to " + ", ".join(f"{size} for {name}" for name, size in sizes.items()))
        return "; ".join(parts)

    @property
    def feature_size(self) -> int:
        """Return the width of the concatenated features."""
        widths = feature_widths(self.kosmos, self.clip)
        return sum(widths[name] for name in self.features)

    @property
    def rnn_input_size(self) -> int:
        return self.fusion_size or self.feature_size

    @property
    def action_size(self) -> int:
        return max(self.mlp.items())[1][0]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PolicyConfig:
        """Build a config from plain values of YAML, JSON or pickle.

        Raise ConfigError for an unknown name, a wrong type or a missing setting.
        """
        needed = (item for item in fields(cls) if item.default is MISSING and item.default_factory is MISSING)
        lacking = [item.name for item in needed if item.name not in values]
        if lacking:
            raise ConfigError(f"PolicyConfig lacks {', '.join(lacking)}")
        return cls(**_convert_types(values))

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers, for pickle, JSON and YAML alike."""
        return _to_plain(asdict(self))


def feature_widths(kosmos: Mapping[str, Any], clip: Mapping[str, Any] | None) -> dict[str, int]:
    """Return the width of each feature of the encoders, in the order of `FEATURES`.

    Raise ConfigError if a size is missing or not a positive integer.
    """
    try:
        text = kosmos["text_config"]["embed_dim"]
        widths = {"kosmos_text": text, "kosmos_image": text, "kosmos_vision": kosmos["vision_config"]["hidden_size"]}
        if clip is not None:
            widths["clip_vision"] = clip["vision_config"]["hidden_size"]
            widths["clip_text"] = clip["text_config"]["hidden_size"]
            widths["clip_image_embeds"] = widths["clip_text_embeds"] = clip["projection_dim"]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"kosmos and clip must hold Hugging Face's settings with all sizes ({error})") from None
    if not all(isinstance(width, int) and width > 0 for width in widths.values()):
        raise ConfigError(f"the widths of kosmos and clip must be positive whole numbers, not {widths}")
    return widths


def choices_of(name: str) -> tuple[Any, ...]:
    """Return the allowed values of a preprocessing field.

    The result is empty if any value of its type is valid.
    """
    return next(item.metadata.get("choices", ()) for item in fields(PolicyConfig) if item.name == name)


PREPROCESSING = tuple(item.name for item in fields(PolicyConfig) if item.metadata.get("preprocessing"))


def _convert_types(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert plain values of YAML, JSON or pickle to the types of PolicyConfig. Raise ConfigError."""
    by_name = {item.name: item for item in fields(PolicyConfig)}
    result = {}
    for name, value in values.items():
        if name not in by_name:
            close = difflib.get_close_matches(str(name), by_name, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(by_name)}"
            raise ConfigError(f"unknown PolicyConfig setting {name!r}; {hint}")
        try:
            result[name] = _convert(str(by_name[name].type), value)
        except (TypeError, ValueError, AttributeError):
            raise ConfigError(f"PolicyConfig setting {name}: {value!r} is not of type {by_name[name].type}") from None
    return result


def _convert(kind: str, value: Any) -> Any:
    if value is None and kind.endswith("None"):
        return None
    if kind.startswith("dict") and kind.endswith("tuple[int, ...]]"):
        key = int if kind.startswith("dict[int") else str
        return {key(index): tuple(int(size) for size in shape) for index, shape in value.items()}
    if kind.startswith("dict"):
        return {str(key): item for key, item in value.items()}
    if kind.startswith("tuple"):
        if isinstance(value, str):
            raise TypeError
        return tuple(float(item) if "float" in kind else str(item) for item in value)
    expected = {"str": str, "bool": bool}.get(kind, int)
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise TypeError
    return value


def merge_settings(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` updated with `over`; nested mappings (the encoders' settings) are merged item by item."""
    result = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merge_settings(result[key], value) if nested else value
    return result


def _format_ranges(numbers: tuple[int, ...]) -> str:
    """Return numbers as ranges: (0, 1, 2, 7) -> "0-2, 7"."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def _to_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _to_plain(item) for key, item in value.items()}
    return [_to_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
