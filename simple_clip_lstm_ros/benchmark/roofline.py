"""What one frame takes: operations and weights of each component, and the least time in which a machine can do them.

The limit is a roofline (Williams, Waterman, Patterson 2009): a component takes at least as long as its operations at
the rate of large matrix products, and as reading its weights once. Norms, activations and additions are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from simple_clip_lstm_ros.benchmark.environment import DevicePeak
from simple_clip_lstm_ros.engine.towers import latents, patches, towers
from simple_clip_lstm_ros.policy.config import PolicyConfig

# In the order of a frame; what only the instruction decides (CLIP's text tower) is computed before.
HEAD = "head"
_SEEN_BY = {
    "kosmos_vision": {"kosmos_vision", "kosmos_image", "kosmos_text"},
    "clip_vision": {"clip_vision", "clip_image_embeds"},
}
_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class ComponentCost:
    """Of one component for one frame. A multiplication and an addition are two operations; `weights` of matrices."""

    operations: int
    weights: int


def frame_cost(config: PolicyConfig, text_tokens: int) -> dict[str, ComponentCost]:
    """Of each component that the config's features need, for an instruction of so many tokens."""
    sizes, features = towers(config, text_tokens), set(config.features)
    work = {}
    for name, encoder in (("kosmos_vision", config.kosmos), ("clip_vision", config.clip)):
        if encoder and features & _SEEN_BY[name]:
            tower, pixels = sizes[name], 3 * encoder["vision_config"]["patch_size"] ** 2
            embedding = tower.width * pixels
            operations = tower.operations + 2 * patches(config, encoder) * embedding
            work[name] = ComponentCost(operations, tower.matrices + embedding)
    if {"kosmos_text", "kosmos_image"} & features:
        work["projection"] = _projection_cost(config)
    if "kosmos_text" in features:
        work["kosmos_text"] = ComponentCost(sizes["kosmos_text"].operations, sizes["kosmos_text"].matrices)
    return work | {HEAD: _head_cost(config)}


def lower_bounds(work: Mapping[str, ComponentCost], machine: DevicePeak, precision: str) -> dict[str, float]:
    """Seconds that each component takes at least with the encoders at `precision`; the head is float32 always."""
    return {name: _lower_bound(each, machine, "fp32" if name == HEAD else precision) for name, each in work.items()}


def _lower_bound(work: ComponentCost, machine: DevicePeak, precision: str) -> float:
    return max(work.operations / machine.rate(precision), work.weights * _BYTES[precision] / machine.bandwidth)


def _projection_cost(config: PolicyConfig) -> ComponentCost:
    """Of Kosmos2ImageToTextProjection: one Linear over all patches, then latents attend to patches and latents."""
    inputs = config.kosmos["vision_config"]["hidden_size"]
    width = config.kosmos["text_config"]["embed_dim"]
    seen, queries = patches(config, config.kosmos) + 1, latents(config)
    keys = seen + queries
    products = seen * inputs * width + 2 * queries * width**2 + 2 * keys * width**2 + 2 * queries * keys * width
    return ComponentCost(2 * products, inputs * width + 4 * width**2)


def _head_cost(config: PolicyConfig) -> ComponentCost:
    hidden, inputs = config.rnn_hidden_size, config.rnn_input_size
    fusion = config.feature_size * config.fusion_size if config.fusion_size else 0
    rnn = 4 * hidden * (inputs + hidden) + (config.rnn_num_layers - 1) * 4 * hidden * 2 * hidden
    mlp = sum(prod(shape) for shape in config.mlp.values() if len(shape) == 2)
    frames = 1 if config.history == "carry" else config.window_size
    return ComponentCost(2 * (fusion + frames * rnn + mlp), fusion + rnn + mlp)
