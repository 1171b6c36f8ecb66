"""Infer a PolicyConfig from the names and shapes of a state dict, and record the assumptions made."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from itertools import combinations
from math import isqrt
from typing import Any

from transformers import CLIPConfig, Kosmos2Config

from simple_clip_lstm_ros.errors import CheckpointError, ConfigError
from simple_clip_lstm_ros.policy.config import FEATURES, PREPROCESSING, PolicyConfig, feature_widths, merge_settings

Shapes = Mapping[str, tuple[int, ...]]

COMPONENTS = ("kosmos_model", "clip_model", "feature_fusion", "rnn", "actions")

# Feature lists that training files of this family use; the first one that matches the fusion's width is assumed.
KNOWN_FEATURES = (
    ("kosmos_text", "kosmos_vision", "clip_vision", "clip_image_embeds", "clip_text_embeds"),
    ("kosmos_text", "clip_text_embeds"),
    ("kosmos_text",),
)

# For each tower: the path of its settings, and Hugging Face's names of width and number of heads.
_TOWER_KEYS = (
    ("kosmos", "text_config", "embed_dim", "attention_heads"),
    ("kosmos", "vision_config", "hidden_size", "num_attention_heads"),
    ("clip", "text_config", "hidden_size", "num_attention_heads"),
    ("clip", "vision_config", "hidden_size", "num_attention_heads"),
)
_HEAD_WIDTH = 64
_ASSUMABLE = (*PREPROCESSING, *(f"{encoder}.{tower}.{heads}" for encoder, tower, _, heads in _TOWER_KEYS))
_KNOWN = {"kosmos": Kosmos2Config().to_dict(), "clip": CLIPConfig().to_dict()}


def infer_config(
    shapes: Shapes, stated: Mapping[str, Any] | None = None, overrides: Mapping[str, Any] | None = None
) -> PolicyConfig:
    """Return the config of the policy whose tensors have these `shapes`.

    `stated` is the file's own `policy_config`, `overrides` are the user's settings; the user overrides the file and the
    file overrides every guess. Preprocessing fields that neither states are listed in `assumed`. Raise CheckpointError
    if the sizes cannot be inferred and ConfigError if they contradict what is stated.
    """
    stated, overrides = _number_layers(stated or {}), _number_layers(overrides or {})
    if stated.get("untrained") and overrides.get("untrained") is False:
        raise ConfigError(
            "untrained is for the checkpoint to say; a robot moves on random weights with allow_untrained"
        )
    values = merge_settings(merge_settings(_sizes(shapes), stated), overrides)
    _check_encoder_settings(values)
    guessed_heads = _guess_heads(values)
    inputs = _fusion_input(shapes)
    if "features" not in values:
        values["features"] = _guess_features(feature_widths(values["kosmos"], values["clip"]), inputs)
    unstated = [name for name in (*PREPROCESSING, *guessed_heads) if name not in stated]
    if values.get("history", "carry") == "carry" and "window_size" in unstated:
        unstated.remove("window_size")
    assumed = stated.get("assumed", unstated)
    if not isinstance(assumed, (list, tuple)) or any(name not in _ASSUMABLE for name in assumed):
        raise ConfigError(f"assumed lists settings that were not stated, not {assumed!r}")
    values["assumed"] = [name for name in assumed if name not in overrides]
    config = PolicyConfig.from_dict(values)
    if config.feature_size != inputs:
        raise ConfigError(
            f"features {' + '.join(config.features)} add up to {config.feature_size} but the checkpoint takes "
            f"{inputs}; these fit: {_format_sums(feature_sums(config, inputs))}"
        )
    return config


def feature_sums(config: PolicyConfig, total: int) -> list[tuple[str, ...]]:
    """Return every list of features whose widths add up to `total`, in the order of FEATURES."""
    return _feature_sums(feature_widths(config.kosmos, config.clip), total)


def _feature_sums(widths: Mapping[str, int], total: int) -> list[tuple[str, ...]]:
    names = [name for name in FEATURES if name in widths]
    lists = (chosen for count in range(1, len(names) + 1) for chosen in combinations(names, count))
    return [chosen for chosen in lists if sum(widths[name] for name in chosen) == total]


def _guess_features(widths: Mapping[str, int], total: int) -> tuple[str, ...]:
    fitting = _feature_sums(widths, total)
    for known in KNOWN_FEATURES:
        if known in fitting:
            return known
    have = ", ".join(f"{name} {width}" for name, width in widths.items())
    if not fitting:
        raise CheckpointError(f"the fusion takes {total} inputs, which no sum of features explains ({have})")
    raise ConfigError(
        f"the fusion's {total} inputs fit several features; state one list as features: {_format_sums(fitting)}"
    )


def _format_sums(lists: list[tuple[str, ...]]) -> str:
    return ", or ".join(" + ".join(names) for names in lists) or "none"


def _number_layers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with the layers of `mlp` by number.

    YAML may write 8 and JSON writes "8".
    """
    mlp = settings.get("mlp")
    if not isinstance(mlp, Mapping):
        return dict(settings)
    try:
        return {**settings, "mlp": {int(index): shape for index, shape in mlp.items()}}
    except (TypeError, ValueError):
        raise ConfigError(f"mlp names layers by number, not {', '.join(map(repr, mlp))}") from None


def _check_encoder_settings(values: Mapping[str, Any]) -> None:
    for encoder, known in _KNOWN.items():
        if values[encoder] is None and encoder == "clip":
            continue
        _check_known(encoder, values[encoder], known)
        for tower in ("text_config", "vision_config"):
            _check_known(f"{encoder}.{tower}", values[encoder][tower], known[tower])


def _check_known(name: str, settings: Any, known: Mapping[str, Any]) -> None:
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{name} is a mapping of Hugging Face's settings, not {settings!r}")
    for key in settings:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            raise ConfigError(f"unknown setting {name}.{key}" + (f"; did you mean {close[0]}?" if close else ""))


def _guess_heads(values: dict[str, Any]) -> list[str]:
    """Fill in heads = width / 64 where they are not stated.

    Return the names of the guessed settings.
    """
    guessed = []
    for encoder, tower, width_name, heads_name in _TOWER_KEYS:
        if values[encoder] is None:
            continue
        settings = values[encoder][tower]
        width = settings[width_name]
        if not isinstance(width, int):
            raise ConfigError(f"{encoder}.{tower}.{width_name} is a whole number, not {width!r}")
        if heads_name in settings:
            heads = settings[heads_name]
            if not isinstance(heads, int) or heads < 1 or width % heads:
                raise ConfigError(f"{encoder} {tower}: {heads!r} attention heads do not divide a width of {width}")
            continue
        if width % _HEAD_WIDTH:
            raise ConfigError(
                f"{encoder} {tower}: a width of {width} does not tell its number of heads (it is no "
                f"multiple of {_HEAD_WIDTH}); state {encoder}: {{{tower}: {{{heads_name}: N}}}} in the config"
            )
        settings[heads_name] = width // _HEAD_WIDTH
        guessed.append(f"{encoder}.{tower}.{heads_name}")
    return guessed


def _sizes(shapes: Shapes) -> dict[str, Any]:
    _check_is_this_model(shapes)
    has_clip = any(name.startswith("clip_model.") for name in shapes)
    has_fusion = any(name.startswith("feature_fusion.") for name in shapes)
    return {
        "kosmos": _kosmos(shapes),
        "clip": _clip(shapes) if has_clip else None,
        "fusion_size": _shape(shapes, "feature_fusion.weight", 2)[0] if has_fusion else None,
        "rnn_hidden_size": _shape(shapes, "rnn.weight_hh_l0", 2)[1],
        "rnn_num_layers": _count(shapes, r"rnn\.weight_ih_l(\d+)"),
        "mlp": _mlp(shapes),
    }


def _check_is_this_model(shapes: Shapes) -> None:
    found: dict[str, int] = {}
    for name in shapes:
        component = name.partition(".")[0]
        found[component] = found.get(component, 0) + 1
    missing = [name for name in ("kosmos_model", "rnn", "actions") if name not in found]
    if missing:
        held = ", ".join(f"{name} ({count})" for name, count in sorted(found.items(), key=lambda item: -item[1])[:5])
        raise CheckpointError(
            f"this is a checkpoint of another model: it has no {', '.join(missing)}; it holds {held or 'no tensors'}"
        )


def _kosmos(shapes: Shapes) -> dict[str, Any]:
    text, vision = "kosmos_model.text_model.model.", "kosmos_model.vision_model.model."
    vocabulary, width = _shape(shapes, text + "embed_tokens.weight", 2)
    return {
        "text_config": {
            "vocab_size": vocabulary,
            "embed_dim": width,
            "layers": _count(shapes, re.escape(text) + r"layers\.(\d+)\."),
            "ffn_dim": _shape(shapes, text + "layers.0.ffn.fc1.weight", 2)[0],
        },
        "vision_config": _vision(shapes, vision),
        "latent_query_num": _shape(shapes, "kosmos_model.image_to_text_projection.latent_query", 2)[0],
    }


def _clip(shapes: Shapes) -> dict[str, Any]:
    text = "clip_model.text_model."
    vocabulary, width = _shape(shapes, text + "embeddings.token_embedding.weight", 2)
    projection = _shape(shapes, "clip_model.text_projection.weight", 2)[0]
    return {
        "text_config": {
            "vocab_size": vocabulary,
            "hidden_size": width,
            "projection_dim": projection,
            "max_position_embeddings": _shape(shapes, text + "embeddings.position_embedding.weight", 2)[0],
            # The last two ids of the vocabulary, as in OpenAI's model (49406 and 49407).
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            **_encoder(shapes, text),
        },
        "vision_config": {"projection_dim": projection, **_vision(shapes, "clip_model.vision_model.")},
        "projection_dim": projection,
    }


def _vision(shapes: Shapes, prefix: str) -> dict[str, Any]:
    hidden, channels, patch, _ = _shape(shapes, prefix + "embeddings.patch_embedding.weight", 4)
    if channels != 3:
        raise CheckpointError(
            f"{prefix}embeddings.patch_embedding takes images of {channels} channels and not of three"
        )
    # One position per patch of the square image, plus one for the class token.
    positions = _shape(shapes, prefix + "embeddings.position_embedding.weight", 2)[0]
    return {
        "hidden_size": hidden,
        "num_channels": channels,
        "patch_size": patch,
        "image_size": isqrt(positions - 1) * patch,
        **_encoder(shapes, prefix),
    }


def _encoder(shapes: Shapes, prefix: str) -> dict[str, int]:
    return {
        "num_hidden_layers": _count(shapes, re.escape(prefix) + r"encoder\.layers\.(\d+)\."),
        "intermediate_size": _shape(shapes, prefix + "encoder.layers.0.mlp.fc1.weight", 2)[0],
    }


def _mlp(shapes: Shapes) -> dict[int, tuple[int, ...]]:
    found = (re.fullmatch(r"actions\.mlp\.(\d+)\.weight", name) for name in shapes)
    mlp = {int(match[1]): tuple(shapes[match[0]]) for match in found if match}
    if not mlp or len(max(mlp.items())[1]) != 2 or any(len(shape) not in (1, 2) for shape in mlp.values()):
        raise CheckpointError("actions.mlp does not end in a Linear layer: the action head is missing or incomplete")
    return mlp


def _fusion_input(shapes: Shapes) -> int:
    fused = "feature_fusion.weight" in shapes
    return _shape(shapes, "feature_fusion.weight" if fused else "rnn.weight_ih_l0", 2)[1]


def _shape(shapes: Shapes, name: str, dimensions: int) -> tuple[int, ...]:
    if name not in shapes:
        raise CheckpointError(f"{name} is missing, and its shape tells the model's sizes; the file is incomplete")
    if len(shapes[name]) != dimensions:
        raise CheckpointError(f"{name} has shape {list(shapes[name])}, but {dimensions} dimensions are expected")
    return tuple(shapes[name])


def _count(shapes: Shapes, pattern: str) -> int:
    # Count distinct numbers instead of taking the largest: a name with a huge number must not create that many layers.
    return len({match[1] for name in shapes if (match := re.match(pattern, name))})
