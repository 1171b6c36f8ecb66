"""The sizes of a model's transformer towers, for estimates of memory, operations and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simple_clip_lstm_ros.policy.config import PolicyConfig


@dataclass(frozen=True)
class Tower:
    """A transformer: `tokens` vectors of `width`, `layers` of attention with `heads` and an MLP of width `inner`."""

    tokens: int
    width: int
    inner: int
    heads: int
    layers: int

    @property
    def matrices(self) -> int:
        """Return the number of weights in Linear layers.

        Each layer has four matrices of attention and two of the MLP.
        """
        return self.layers * (4 * self.width**2 + 2 * self.width * self.inner)

    @property
    def operations(self) -> int:
        """Return the operations of one pass; a multiply-add counts as two.

        Attention is counted all to all, masked or not.
        """
        return 2 * self.tokens * self.matrices + self.layers * 4 * self.tokens**2 * self.width


def towers(config: PolicyConfig, text_tokens: int) -> dict[str, Tower]:
    """Return the towers by name, for an instruction of `text_tokens` tokens."""
    kosmos, clip = config.kosmos, config.clip
    found = {
        "kosmos_vision": _tower(kosmos["vision_config"], patches(config, kosmos) + 1),
        "kosmos_text": _tower(kosmos["text_config"], latents(config) + text_tokens),
    }
    if clip:
        found["clip_vision"] = _tower(clip["vision_config"], patches(config, clip) + 1)
        found["clip_text"] = _tower(clip["text_config"], text_tokens)
    return found


def latents(config: PolicyConfig) -> int:
    """Return the number of tokens that represent the image in the text tower of Kosmos-2."""
    return int(config.kosmos.get("latent_query_num", 64))


def patches(config: PolicyConfig, encoder: Mapping[str, Any]) -> int:
    """Return the number of patches of the encoder's input image."""
    return int(config.input_size(encoder) // encoder["vision_config"]["patch_size"]) ** 2


def _tower(settings: Mapping[str, Any], tokens: int) -> Tower:
    return Tower(
        tokens,
        width=settings.get("embed_dim") or settings["hidden_size"],
        inner=settings.get("ffn_dim") or settings["intermediate_size"],
        heads=settings.get("attention_heads") or settings["num_attention_heads"],
        layers=settings.get("layers") or settings["num_hidden_layers"],
    )
