"""The encoders: Kosmos-2 and CLIP turn a frame and an instruction into named features.

They are Hugging Face's own, called part by part because `Kosmos2Model.forward` overwrites the vision tower's pooler
output (transformers 5) and `CLIPModel.forward` normalizes the embeds. They have no memory of earlier frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, Kosmos2Config, Kosmos2Model

from simple_clip_lstm_ros.policy.config import PolicyConfig


@dataclass(frozen=True)
class Pixels:
    """One frame for each encoder, [1, 3, size, size], normalized, in the encoders' dtype."""

    kosmos: Tensor
    clip: Tensor | None


@dataclass(frozen=True)
class Tokens:
    """One instruction for each encoder: int64 ids and masks, [1, length]."""

    kosmos_ids: Tensor
    kosmos_mask: Tensor
    kosmos_image_mask: Tensor  # 1 where a projected latent of the image replaces a token
    clip_ids: Tensor | None
    clip_mask: Tensor | None


@dataclass(frozen=True)
class EncodedInstruction:
    """An instruction's tokens and the features that depend on the text alone, computed once."""

    tokens: Tokens
    features: dict[str, Tensor]  # each [1, width]


class EncoderModel(nn.Module):
    """Kosmos-2 and, if the config names it, CLIP. Submodules have the names of the checkpoint's tensors."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.add_encoders(config)

    def add_encoders(self, config: PolicyConfig) -> None:
        """Create the encoders' modules."""
        self.config = config
        self.kosmos_model = Kosmos2Model(Kosmos2Config(**config.kosmos))
        # The latents attend to all patches. transformers 5 marks every Kosmos-2 attention causal, and its SDPA path
        # (the default) enforces that if there is no mask, as here: latent n would attend to the first n + 1 tokens
        # only.
        self.kosmos_model.image_to_text_projection.x_attn.is_causal = False
        self.clip_model = CLIPModel(CLIPConfig(**config.clip)) if config.clip else None
        self._kosmos_options = _vision_options(config, config.kosmos)
        self._clip_options = _vision_options(config, config.clip) if config.clip else {}

    def encode_instruction(self, tokens: Tokens) -> EncodedInstruction:
        """Compute everything that depends on the instruction alone."""
        features = {}
        if self.clip_model is not None and {"clip_text", "clip_text_embeds"} & set(self.config.features):
            pooled = self.clip_model.text_model(tokens.clip_ids, attention_mask=tokens.clip_mask).pooler_output
            features["clip_text"] = pooled
            features["clip_text_embeds"] = self.clip_model.text_projection(pooled)
        return EncodedInstruction(tokens, features)

    def features(self, pixels: Pixels, instruction: EncodedInstruction) -> dict[str, Tensor]:
        """Return the features that the config names, each [1, width], in its order."""
        features = dict(instruction.features)
        if {"kosmos_vision", "kosmos_image", "kosmos_text"} & set(self.config.features):
            features |= self._kosmos_features(pixels.kosmos, instruction.tokens)
        if self.clip_model is not None and {"clip_vision", "clip_image_embeds"} & set(self.config.features):
            pooled = self.clip_model.vision_model(pixels.clip, **self._clip_options).pooler_output
            features["clip_vision"] = pooled
            features["clip_image_embeds"] = self.clip_model.visual_projection(pooled)
        return {name: features[name] for name in self.config.features}

    def _kosmos_features(self, pixels: Tensor, tokens: Tokens) -> dict[str, Tensor]:
        """Compute the needed part of Kosmos2Model.forward.

        Unlike that method, keep the vision tower's own pooler output.
        """
        kosmos = self.kosmos_model
        vision = kosmos.vision_model(pixels, **self._kosmos_options)
        features = {"kosmos_vision": vision.pooler_output}
        if not {"kosmos_image", "kosmos_text"} & set(self.config.features):
            return features
        normed = F.normalize(kosmos.vision_model.model.post_layernorm(vision.last_hidden_state), dim=-1)
        latents, _ = kosmos.image_to_text_projection(normed)
        features["kosmos_image"] = latents.mean(dim=1)
        if "kosmos_text" not in self.config.features:
            return features
        text = kosmos.text_model(
            input_ids=tokens.kosmos_ids,
            attention_mask=tokens.kosmos_mask,
            image_embeds=latents,
            image_embeds_position_mask=tokens.kosmos_image_mask,
            use_cache=False,
        ).last_hidden_state
        return features | {"kosmos_text": self._pool(text, tokens.kosmos_mask)}

    def _pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Pool [1, length, width] to [1, width] over the attended positions, image slots included."""
        attended = hidden[:, mask[0].bool()]
        if self.config.kosmos_text_pooling == "mean":
            return attended.mean(dim=1)
        return attended[:, -1 if self.config.kosmos_text_pooling == "last" else 0]


def _vision_options(config: PolicyConfig, settings: Mapping[str, Any]) -> dict[str, bool]:
    """Return the vision tower's extra arguments if its input is smaller than it was trained with."""
    is_smaller = config.input_size(settings) != settings["vision_config"]["image_size"]
    return {"interpolate_pos_encoding": True} if is_smaller else {}
