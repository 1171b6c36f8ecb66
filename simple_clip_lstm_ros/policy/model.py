"""SimpleCLIPLSTM: Kosmos-2 and CLIP encode frame and instruction, an LSTM keeps state, an MLP head acts.

Data flow: a frame becomes features, the features become one fused vector, the LSTM carries its state from frame to
frame, and the head gives the action. Submodules have the names of the checkpoint's tensors. The encoders are Hugging
Face's own, called part by part because `Kosmos2Model.forward` overwrites the vision tower's pooler output (transformers
5) and `CLIPModel.forward` normalizes the embeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, Kosmos2Config, Kosmos2Model

from simple_clip_lstm_ros.policy.config import PolicyConfig

State = tuple[Tensor, Tensor]  # h and c of the LSTM, each [layers, 1, hidden]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


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


class ActionHead(nn.Module):
    """The MLP head that maps the LSTM's output to an action.

    In `config.mlp` a 2-D shape is a Linear, a 1-D shape a LayerNorm; gaps are parameter-free modules.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[config.mlp_activation]
        self.final_tanh = config.final_tanh
        self.mlp = nn.ModuleDict()
        for index, shape in sorted(config.mlp.items()):
            self.mlp[str(index)] = nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.LayerNorm(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Map [1, rnn_hidden_size] to [1, action_size]; the activation precedes each Linear but the first."""
        for position, module in enumerate(self.mlp.values()):
            if position and isinstance(module, nn.Linear):
                x = self.activation(x)
            x = module(x)
        return torch.tanh(x) if self.final_tanh else x


class SimpleCLIPLSTM(nn.Module):
    """The whole policy as one module, for inference only: parameters need no gradients, dropout is off.

    Build it under `torch.device("meta")` when a checkpoint brings the weights. The encoders may run in a lower
    precision; `feature_fusion`, `rnn` and `actions` always run in float32.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.kosmos_model = Kosmos2Model(Kosmos2Config(**config.kosmos))
        # The latents attend to all patches. transformers 5 marks every Kosmos-2 attention causal, and its SDPA path
        # (the default) enforces that if there is no mask, as here: latent n would attend to the first n + 1 tokens
        # only.
        self.kosmos_model.image_to_text_projection.x_attn.is_causal = False
        self.clip_model = CLIPModel(CLIPConfig(**config.clip)) if config.clip else None
        self.feature_fusion = nn.Linear(config.feature_size, config.fusion_size) if config.fusion_size else None
        self.rnn = nn.LSTM(config.rnn_input_size, config.rnn_hidden_size, config.rnn_num_layers, batch_first=True)
        self.actions = ActionHead(config)
        self._kosmos_options = _vision_options(config, config.kosmos)
        self._clip_options = _vision_options(config, config.clip) if config.clip else {}
        self.eval().requires_grad_(False)

    def encode_instruction(self, tokens: Tokens) -> EncodedInstruction:
        """Compute everything that depends on the instruction alone."""
        features = {}
        if self.clip_model is not None and {"clip_text", "clip_text_embeds"} & set(self.config.features):
            pooled = self.clip_model.text_model(tokens.clip_ids, attention_mask=tokens.clip_mask).pooler_output
            features["clip_text"] = pooled
            features["clip_text_embeds"] = self.clip_model.text_projection(pooled)
        return EncodedInstruction(tokens, features)

    def forward(self, pixels: Pixels, instruction: EncodedInstruction, state: State | None) -> tuple[Tensor, State]:
        """Return (action [1, action_size] before scale and offset, next state) for one frame.

        `state` None starts from zero.
        """
        fused = self.fuse(self.features(pixels, instruction))
        return self.act(fused[None], state)

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

    def fuse(self, features: dict[str, Tensor]) -> Tensor:
        """Return the fused vector, float32 [1, rnn_input_size]."""
        joined = torch.cat([features[name].float() for name in self.config.features], dim=-1)
        return self.feature_fusion(joined) if self.feature_fusion is not None else joined

    def act(self, fused: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Map [1, frames, rnn_input_size] to (action of the last frame [1, action_size], state after it)."""
        hidden, state = self.rnn(fused, state)
        return self.actions(hidden[:, -1]), state


def _vision_options(config: PolicyConfig, settings: Mapping[str, Any]) -> dict[str, bool]:
    """Return the vision tower's extra arguments if its input is smaller than it was trained with."""
    is_smaller = config.input_size(settings) != settings["vision_config"]["image_size"]
    return {"interpolate_pos_encoding": True} if is_smaller else {}
