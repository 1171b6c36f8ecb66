"""Weight initialization for a small model that trains from scratch, including its encoders.

The library's initialization suits large towers that train for weeks. In a small one, its position embeddings are 1/30
of the patch embeddings and its latents 1/1000 of the word embeddings: for the first thousands of steps the model cannot
locate anything.
"""

from __future__ import annotations

import torch
from torch import nn

from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM

_POSITION_STD = 0.7  # relative to patch embeddings of standard deviation 1
# Last layers of residual branches: half the gain, so that the sum stays near 1.
_BRANCH_ENDS = ("out_proj.weight", "fc2.weight")


def init_model(config: PolicyConfig, seed: int) -> SimpleCLIPLSTM:
    """Return a model with random weights of unit gain.

    Position and class embeddings are scaled like the tokens next to them.
    """
    torch.manual_seed(seed)
    model = SimpleCLIPLSTM(config)
    for name, weight in model.named_parameters():
        if name.startswith(("kosmos_model.", "clip_model.", "feature_fusion.")) and (std := _init_std(name, weight)):
            nn.init.normal_(weight, std=std)
    return model


def _init_std(name: str, weight: nn.Parameter) -> float:
    """Return the standard deviation, or 0 to keep the library's values: norms, biases, latent queries."""
    if "position_embedding" in name:
        return _POSITION_STD
    if name.endswith(("class_embedding", "token_embedding.weight")):
        return 1.0
    if name.endswith("image_to_text_projection.dense.weight"):
        return 1.0  # its inputs have length 1
    if weight.dim() < 2 or "latent_query" in name:
        return 0.0
    gain = 0.5 if name.endswith(_BRANCH_ENDS) else 1.0
    # Also right for Kosmos-2's word embeddings: it multiplies them by the square root of their width.
    return gain * weight[0].numel() ** -0.5
