"""Weights to begin from."""

from __future__ import annotations

import pytest
import torch

from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor
from simple_clip_lstm_ros.policy.sample_images import sample_crops
from simple_clip_lstm_ros.training.weight_init import init_model

CONFIG = REFERENCE_CONFIGS["tiny"]


def test_the_same_seed_gives_the_same_weights() -> None:
    one, same, other = (init_model(CONFIG, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["feature_fusion.weight"], other["feature_fusion.weight"])


def test_positions_are_heard_beside_patches() -> None:
    """In both vision towers, on photographs: neither drowns the other."""
    model = init_model(CONFIG, 0)
    images = ImagePreprocessor(CONFIG, torch.device("cpu"), torch.float32)
    pixels = torch.cat([images(frame).kosmos for frame in sample_crops(4)])
    for embeddings in (model.kosmos_model.vision_model.model.embeddings, model.clip_model.vision_model.embeddings):
        patches = embeddings.patch_embedding(pixels)
        ratio = embeddings.position_embedding.weight.std() / patches.std()
        assert 0.25 < ratio.item() < 4.0


def test_latents_are_heard_beside_words() -> None:
    model = init_model(CONFIG, 0)
    images = ImagePreprocessor(CONFIG, torch.device("cpu"), torch.float32)
    seen = model.kosmos_model.vision_model(images(next(sample_crops(1))).kosmos).last_hidden_state
    latents, _ = model.kosmos_model.image_to_text_projection(torch.nn.functional.normalize(seen, dim=-1))
    words = model.kosmos_model.text_model.model.embed_tokens.weight
    assert 0.1 < (latents.std() / words.std()).item() < 10.0


@pytest.mark.parametrize("name", ["layer_norm1.weight", "post_layernorm.weight"])
def test_norms_begin_as_they_should(name: str) -> None:
    weights = [weight for key, weight in init_model(CONFIG, 0).state_dict().items() if key.endswith(name)]
    assert weights and all(torch.equal(weight, torch.ones_like(weight)) for weight in weights)
