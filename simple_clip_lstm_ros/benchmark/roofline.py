"""Operations and weights of each component for one frame, and the least time a machine needs for them.

The limit is a roofline (Williams, Waterman, Patterson 2009): a component takes at least the time of its operations at
the rate of large matrix products, and at least the time to read its weights once. Norms, activations and additions are
not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from simple_clip_lstm_ros.benchmark.environment import DevicePeak
from simple_clip_lstm_ros.engine.towers import latents, patches, towers
from simple_clip_lstm_ros.policy.config import PolicyConfig

# In the order of a frame. CLIP's text tower depends on the instruction alone and is computed beforehand.
HEAD = "head"
_FEATURES_OF = {
    "kosmos_vision": {"kosmos_vision", "kosmos_image", "kosmos_text"},
    "clip_vision": {"clip_vision", "clip_image_embeds"},
}
_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class ComponentCost:
    """Cost of one component for one frame: operations (a multiply-add counts as two) and matrix `weights`."""

    operations: int
    weights: int


def frame_cost(config: PolicyConfig, text_tokens: int) -> dict[str, ComponentCost]:
    """Return the cost of each component that the config's features need.

    `text_tokens` is the length of the instruction.
    """
    sizes, features = towers(config, text_tokens), set(config.features)
    costs = {}
    for name, encoder in (("kosmos_vision", config.kosmos), ("clip_vision", config.clip)):
        if encoder and features & _FEATURES_OF[name]:
            tower, pixels = sizes[name], 3 * encoder["vision_config"]["patch_size"] ** 2
            embedding = tower.width * pixels
            operations = tower.operations + 2 * patches(config, encoder) * embedding
            costs[name] = ComponentCost(operations, tower.matrices + embedding)
    if {"kosmos_text", "kosmos_image"} & features:
        costs["projection"] = _projection_cost(config)
    if "kosmos_text" in features:
        costs["kosmos_text"] = ComponentCost(sizes["kosmos_text"].operations, sizes["kosmos_text"].matrices)
    return costs | {HEAD: _head_cost(config)}


def lower_bounds(costs: Mapping[str, ComponentCost], peak: DevicePeak, precision: str) -> dict[str, float]:
    """Return the least seconds of each component with the encoders at `precision`.

    The head is always float32.
    """
    return {name: _lower_bound(cost, peak, "fp32" if name == HEAD else precision) for name, cost in costs.items()}


def _lower_bound(cost: ComponentCost, peak: DevicePeak, precision: str) -> float:
    return max(cost.operations / peak.rate(precision), cost.weights * _BYTES[precision] / peak.bandwidth)


def _projection_cost(config: PolicyConfig) -> ComponentCost:
    """Return the cost of Kosmos2ImageToTextProjection.

    One Linear runs over all patches, then latents attend to patches and latents.
    """
    inputs = config.kosmos["vision_config"]["hidden_size"]
    width = config.kosmos["text_config"]["embed_dim"]
    tokens, queries = patches(config, config.kosmos) + 1, latents(config)
    keys = tokens + queries
    products = tokens * inputs * width + 2 * queries * width**2 + 2 * keys * width**2 + 2 * queries * keys * width
    return ComponentCost(2 * products, inputs * width + 4 * width**2)


def _head_cost(config: PolicyConfig) -> ComponentCost:
    hidden, inputs = config.rnn_hidden_size, config.rnn_input_size
    fusion = config.feature_size * config.fusion_size if config.fusion_size else 0
    rnn = 4 * hidden * (inputs + hidden) + (config.rnn_num_layers - 1) * 4 * hidden * 2 * hidden
    mlp = sum(prod(shape) for shape in config.mlp.values() if len(shape) == 2)
    frames = 1 if config.history == "carry" else config.window_size
    return ComponentCost(2 * (fusion + frames * rnn + mlp), fusion + rnn + mlp)
