"""Weights for a model that is to learn everything, encoders and all.

The library's own initialisation is for large towers that learn for weeks. In a small one its positions are a thirtieth
of what the patches are, and its latents a thousandth of what the words are: for the first thousands of steps it cannot
tell where anything is.
"""

from __future__ import annotations

import torch
from torch import nn

from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM

_POSITION = 0.7  # beside patches of standard deviation one
# What a residual branch ends with: half as much, so that the sum stays near one.
_BRANCH_ENDS = ("out_proj.weight", "fc2.weight")


def init_model(config: PolicyConfig, seed: int) -> SimpleCLIPLSTM:
    """Unit gain for matrices; positions and classes as loud as what they stand beside."""
    torch.manual_seed(seed)
    model = SimpleCLIPLSTM(config)
    for name, weight in model.named_parameters():
        if name.startswith(("kosmos_model.", "clip_model.", "feature_fusion.")) and (std := _std_of(name, weight)):
            nn.init.normal_(weight, std=std)
    return model


def _std_of(name: str, weight: nn.Parameter) -> float:
    """0 for what stays as the library has it: norms, biases, latent queries."""
    if "position_embedding" in name:
        return _POSITION
    if name.endswith(("class_embedding", "token_embedding.weight")):
        return 1.0
    if name.endswith("image_to_text_projection.dense.weight"):
        return 1.0  # of vectors of length one
    if weight.dim() < 2 or "latent_query" in name:
        return 0.0
    gain = 0.5 if name.endswith(_BRANCH_ENDS) else 1.0
    # Of Kosmos-2's words too, which it multiplies by the root of their width.
    return gain * weight[0].numel() ** -0.5
