"""The configs that `synth` can write: the two known head variants at full size, and a tiny one for demo and tests."""

from __future__ import annotations

from simple_clip_lstm_ros.checkpoint.infer_config import KNOWN_FEATURES
from simple_clip_lstm_ros.policy.config import PolicyConfig

# microsoft/kosmos-2-patch14-224 and openai/clip-vit-base-patch32.
_KOSMOS = {
    "text_config": {"vocab_size": 65037, "embed_dim": 2048, "layers": 24, "ffn_dim": 8192, "attention_heads": 32},
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
    },
    "latent_query_num": 64,
}
_CLIP = {
    "text_config": {
        "vocab_size": 49408,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "max_position_embeddings": 77,
        "projection_dim": 512,
    },
    "vision_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 32,
        "projection_dim": 512,
    },
    "projection_dim": 512,
}

# Vocabularies and end-of-text token of write_tiny_processors.
_TINY_KOSMOS = {
    "text_config": {"vocab_size": 160, "embed_dim": 128, "layers": 2, "ffn_dim": 128, "attention_heads": 2},
    "vision_config": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "image_size": 56,
        "patch_size": 14,
    },
    "latent_query_num": 8,
}
_TINY_CLIP = {
    "text_config": {
        "vocab_size": 514,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "max_position_embeddings": 77,
        "projection_dim": 40,
        "bos_token_id": 512,
        "eos_token_id": 513,
    },
    "vision_config": {
        "hidden_size": 128,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
        "projection_dim": 40,
    },
    "projection_dim": 40,
}


def _head(inputs: int, hidden: int) -> dict[int, tuple[int, ...]]:
    """Return the MLP of the head as weight shapes by module index.

    The modules are Linear, LayerNorm, (activation, dropout), Linear, LayerNorm, (activation, dropout), and a Linear to
    two outputs.
    """
    return {0: (hidden, inputs), 1: (hidden,), 4: (hidden, hidden), 5: (hidden,), 8: (2, hidden)}


REFERENCE_CONFIGS = {
    "seed": PolicyConfig(_KOSMOS, _CLIP, 2048, 512, 4, _head(512, 512), features=KNOWN_FEATURES[0], untrained=True),
    "published": PolicyConfig(
        _KOSMOS, _CLIP, 2048, 1024, 4, _head(1024, 512), features=KNOWN_FEATURES[1], untrained=True
    ),
    "tiny": PolicyConfig(
        _TINY_KOSMOS, _TINY_CLIP, 96, 48, 4, _head(48, 32), features=KNOWN_FEATURES[0], untrained=True
    ),
}
