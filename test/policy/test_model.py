"""The reference test: the policy equals a plain composition of Hugging Face's modules and torch.nn.

`Reference` is written from the description of the model, without looking at how the package does it: encoders built the
usual way and called as wholes, one nn.LSTM over the whole sequence at once, nn.Sequential for the head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, Kosmos2Config, Kosmos2Model, Kosmos2Processor

from simple_clip_lstm_ros.checkpoint.build import build_model, expected_shapes, load_weights
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.engine.precision import Precision
from simple_clip_lstm_ros.policy.config import FEATURES, PolicyConfig
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM
from simple_clip_lstm_ros.policy.policy import Policy

TEXT = "go to the red door"
TOLERANCE = 1e-5
# Attention as it is written down, and as it was when such checkpoints were trained: the fused kinds of transformers 5
# take the latents' attention to the patches for a causal one.
EAGER = {"attn_implementation": "eager"}
CLIP_MEAN = np.array((0.48145466, 0.4578275, 0.40821073))
CLIP_STD = np.array((0.26862954, 0.26130258, 0.27577711))

Weights = dict[str, Tensor]


def squashed(frame: np.ndarray, size: int) -> Tensor:
    small = np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC)) / 255.0
    return torch.tensor((small - CLIP_MEAN) / CLIP_STD, dtype=torch.float32).permute(2, 0, 1)[None]


@dataclass
class Seen:
    """What passed through a policy's own modules during one step."""

    action: tuple[float, ...]
    kosmos_pixels: Tensor
    clip_pixels: Tensor | None  # None where the features need no CLIP vision
    features: dict[str, Tensor]
    fused: Tensor
    state: tuple[Tensor, Tensor]


class Reference:
    def __init__(self, weights: Weights, config: PolicyConfig, processors: Path) -> None:
        self.weights, self.config = weights, config
        self.kosmos = self.filled("kosmos_model.", Kosmos2Model(Kosmos2Config(**config.kosmos, **EAGER)))
        self.clip = self.filled("clip_model.", CLIPModel(CLIPConfig(**config.clip, **EAGER))) if config.clip else None
        fusion = nn.Linear(config.feature_size, config.fusion_size) if config.fusion_size else nn.Identity()
        self.fusion = self.filled("feature_fusion.", fusion)
        inputs = config.fusion_size or config.feature_size
        self.rnn = nn.LSTM(inputs, config.rnn_hidden_size, config.rnn_num_layers, batch_first=True)
        self.filled("rnn.", self.rnn)
        self.mlp = self.filled("actions.mlp.", self.sequential())
        self.kosmos_processor = Kosmos2Processor.from_pretrained(processors / "kosmos-tiny")
        self.clip_tokenizer = AutoTokenizer.from_pretrained(processors / "clip-tiny")

    def filled(self, prefix: str, module: nn.Module) -> nn.Module:
        own = {name.removeprefix(prefix): tensor for name, tensor in self.weights.items() if name.startswith(prefix)}
        module.load_state_dict(own, strict=True)
        return module.eval()

    def sequential(self) -> nn.Sequential:
        """In the gaps of the numbering stand the activation and, where there is room, the dropout."""
        activation = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}[self.config.mlp_activation]
        modules: list[nn.Module] = []
        for index, shape in sorted(self.config.mlp.items()):
            if len(modules) < index:
                modules.append(activation())
            modules += [nn.Dropout() for _ in range(index - len(modules))]
            modules.append(nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.LayerNorm(shape))
        return nn.Sequential(*modules)

    def features(self, frame: np.ndarray, step: Seen) -> dict[str, Tensor]:
        slots = self.config.kosmos["latent_query_num"]
        text = self.kosmos_processor(images=frame, text=TEXT, num_image_tokens=slots, return_tensors="pt")
        words = {name: text[name] for name in ("input_ids", "attention_mask", "image_embeds_position_mask")}
        output = self.kosmos(pixel_values=step.kosmos_pixels, **words)
        hidden = output.last_hidden_state
        found = {
            "kosmos_text": {"mean": hidden.mean(1), "first": hidden[:, 0], "last": hidden[:, -1]}[
                self.config.kosmos_text_pooling
            ],
            "kosmos_image": output.image_embeds.mean(1),
            # Kosmos2Model.forward of transformers 5 puts the projected latents in the place of the pooler output.
            "kosmos_vision": self.kosmos.vision_model(step.kosmos_pixels).pooler_output,
        }
        if self.clip is not None:
            words = self.clip_tokenizer(TEXT, return_tensors="pt")
            # CLIPModel.forward normalises the embeds, and in transformers 5 replaces the pooler outputs by them.
            size = self.config.clip["vision_config"]["image_size"]
            clip_pixels = squashed(frame, size) if step.clip_pixels is None else step.clip_pixels
            whole = self.clip(pixel_values=clip_pixels, **words)
            found["clip_vision"] = self.clip.vision_model(clip_pixels).pooler_output
            found["clip_text"] = self.clip.text_model(**words).pooler_output
            found["clip_image_embeds"] = self.clip.visual_projection(found["clip_vision"])
            found["clip_text_embeds"] = self.clip.text_projection(found["clip_text"])
            for name in ("image_embeds", "text_embeds"):
                assert_close(F.normalize(found[f"clip_{name}"], dim=-1), whole[name], name)
        return {name: found[name] for name in self.config.features}

    def act(self, fused: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[frames, width] -> action of every frame, and h and c after the last."""
        hidden, state = self.rnn(fused[None])
        action = self.mlp(hidden[0])
        return (torch.tanh(action) if self.config.final_tanh else action), state


def watched(policy: Policy, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """Step through the frames with Policy.step alone, and note what happens inside."""
    model, now = policy.model, dict[str, Any]()
    fuse = model.fuse

    def noting_fuse(features: dict[str, Tensor]) -> Tensor:
        now["features"], now["fused"] = dict(features), fuse(features)
        return now["fused"]

    monkeypatch.setattr(model, "fuse", noting_fuse)
    towers = {"kosmos_pixels": model.kosmos_model.vision_model}
    if model.clip_model is not None:
        towers["clip_pixels"] = model.clip_model.vision_model
    hooks = [
        tower.register_forward_pre_hook(lambda _, inputs, name=name: now.update({name: inputs[0]}))
        for name, tower in towers.items()
    ]
    hooks.append(model.rnn.register_forward_hook(lambda _, inputs, output: now.update(state=output[1])))
    seen = []
    for frame in frames:
        now.clear()
        now["clip_pixels"] = None
        action = policy.step(frame, TEXT).values
        seen.append(Seen(action, **now))
    for hook in hooks:
        hook.remove()
    return seen


def random_weights(config: PolicyConfig) -> Weights:
    """Nothing is left at ones or zeros: a forgotten bias or LayerNorm shows. The gain keeps the frames apart."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in expected_shapes(build_model(config)).items():
        drawn = torch.randn(shape, generator=generator)
        gain = 3.0 if name.startswith(("rnn.", "actions.")) else 1.0
        matrix, vector = len(shape) > 1, 0.3 * drawn + name.endswith("norm.weight")
        weights[name] = gain * drawn * drawn[0].numel() ** -0.5 if matrix else vector
    return weights


def assert_close(actual: Tensor, expected: Tensor, name: str) -> None:
    torch.testing.assert_close(actual, expected, rtol=TOLERANCE, atol=TOLERANCE, msg=lambda text: f"{name}: {text}")


def assert_equals_reference(policy: Policy, reference: Reference, frames: list[np.ndarray], monkeypatch: Any) -> None:
    """Pixels within a grey level of Pillow's; from those on, features, fused vector, h, c and action as they should."""
    seen = watched(policy, frames, monkeypatch)
    fused = []
    for frame, step in zip(frames, seen, strict=True):
        for pixels in (step.kosmos_pixels, step.clip_pixels):
            if pixels is not None:
                off = (pixels - squashed(frame, pixels.shape[-1])).abs().amax(dim=(0, 2, 3))
                assert (off <= torch.tensor(1.001 / 255.0 / CLIP_STD)).all()
        expected = reference.features(frame, step)
        assert list(step.features) == list(expected)
        for name, feature in expected.items():
            assert_close(step.features[name], feature, name)
        fused.append(reference.fusion(torch.cat(list(expected.values()), dim=-1)))
        assert_close(step.fused, fused[-1], "fused")
    assert_acts_as(reference, seen, torch.cat(fused))


def assert_acts_as(reference: Reference, seen: list[Seen], fused: Tensor) -> None:
    actions, _ = reference.act(fused)
    for index, step in enumerate(seen):
        _, (h, c) = reference.act(fused[: index + 1])
        assert_close(step.state[0], h, f"h after frame {index}")
        assert_close(step.state[1], c, f"c after frame {index}")
        assert_close(torch.tensor(step.action), actions[index], f"action of frame {index}")
    assert actions.std(dim=0).min() > 0.01, "the frames must tell themselves apart"


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def test_the_tiny_checkpoint_equals_the_reference(policy, tiny, processors, frames, monkeypatch):
    weights = torch.load(tiny, weights_only=False)["model_state_dict"]
    assert_equals_reference(policy, Reference(weights, policy.config, processors), frames, monkeypatch)


WITHOUT_NORMS = {0: (24, 48), 2: (16, 24), 4: (2, 16)}
VARIANTS: dict[str, dict[str, Any]] = {
    "two features and a wide LSTM, as published": {
        "features": ("kosmos_text", "clip_text_embeds"),
        "rnn_hidden_size": 120,
        "mlp": {0: (64, 120), 1: (64,), 4: (64, 64), 5: (64,), 8: (2, 64)},
    },
    "no CLIP and no fusion": {"clip": None, "fusion_size": None, "features": ("kosmos_text",)},
    "every feature": {"features": FEATURES},
    "features in another order": {"features": ("clip_image_embeds", "kosmos_vision", "clip_text", "kosmos_text")},
    "the last text position": {"kosmos_text_pooling": "last", "features": ("kosmos_text",)},
    "the first text position": {"kosmos_text_pooling": "first", "features": ("kosmos_text", "kosmos_image")},
    "a head without LayerNorm": {"mlp": WITHOUT_NORMS},
    "a head with dropout and no LayerNorm": {"mlp": {0: (24, 48), 3: (2, 24)}},
    "a head of one layer": {"mlp": {0: (2, 48)}},
    "gelu": {"mlp_activation": "gelu"},
    "silu": {"mlp_activation": "silu", "mlp": WITHOUT_NORMS},
    "tanh": {"mlp_activation": "tanh"},
    "a final tanh": {"final_tanh": True},
    "one LSTM layer": {"rnn_num_layers": 1},
}


def variant(config: PolicyConfig, changes: dict[str, Any]) -> tuple[SimpleCLIPLSTM, Weights]:
    changed = replace(config, **changes)
    weights = random_weights(changed)
    model = build_model(changed)
    load_weights(model, weights.items(), torch.device("cpu"), Precision("fp32", torch.float32))
    return model, weights


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_equals_the_reference(changes, tiny_config, wrapped, processors, frames, monkeypatch):
    model, weights = variant(tiny_config, changes)
    reference = Reference(weights, model.config, processors)
    assert_equals_reference(wrapped(model), reference, frames[:5], monkeypatch)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_window_history_runs_the_last_fused_features_from_zero_each_time(
    size, tiny_config, wrapped, processors, frames, monkeypatch
):
    model, weights = variant(tiny_config, {"history": "window", "window_size": size})
    reference = Reference(weights, model.config, processors)
    policy = wrapped(model)
    seen = watched(policy, frames, monkeypatch)
    fused = torch.cat([step.fused for step in seen])
    for index, step in enumerate(seen):
        actions, _ = reference.act(fused[max(0, index + 1 - size) : index + 1])
        assert_close(torch.tensor(step.action), actions[-1], f"action of frame {index}")


def test_bfloat16_features_are_close_and_the_head_stays_in_float32(tiny, policy, frames, monkeypatch):
    exact = watched(policy, frames, monkeypatch)
    half = load_policy(tiny, precision="bf16")
    # The table of words stays in the file as it is; what it gives is cast.
    encoder = half.model.kosmos_model.named_parameters()
    assert {tensor.dtype for name, tensor in encoder if "embed_tokens" not in name} == {torch.bfloat16}
    for step, rough in zip(exact, watched(half, frames, monkeypatch), strict=True):
        assert rough.fused.dtype == rough.state[0].dtype == torch.float32
        for name, feature in step.features.items():
            error = (rough.features[name].float() - feature).norm() / feature.norm()
            assert 0.0 < error < 0.03, name


def test_the_model_has_no_dropout_and_no_gradients_on(tiny_model):
    assert not tiny_model.training and not any(module.training for module in tiny_model.modules())
    assert not any(parameter.requires_grad for parameter in tiny_model.parameters())


def test_submodules_bear_the_names_of_the_checkpoint(tiny_model):
    names = ["kosmos_model", "clip_model", "feature_fusion", "rnn", "actions"]
    assert [name for name, _ in tiny_model.named_children()] == names
    assert isinstance(tiny_model.kosmos_model, Kosmos2Model) and isinstance(tiny_model.clip_model, CLIPModel)
