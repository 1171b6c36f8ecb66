"""What a frame takes: as counted by PyTorch while the real modules run, and the limit that follows for a machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPConfig, CLIPModel, Kosmos2Config, Kosmos2Model

from simple_clip_lstm_ros.benchmark.environment import DevicePeak
from simple_clip_lstm_ros.benchmark.roofline import HEAD, ComponentCost, frame_cost, lower_bounds
from simple_clip_lstm_ros.checkpoint.build import build_model
from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS

TINY = REFERENCE_CONFIGS["tiny"]
TEXT_TOKENS = 11
EAGER = {"attn_implementation": "eager"}  # whose products the counter knows


def counted(module: nn.Module, *given: torch.Tensor, **named: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        module.eval().requires_grad_(False)(*given, **named)
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def kosmos() -> Kosmos2Model:
    return Kosmos2Model(Kosmos2Config(**TINY.kosmos, **EAGER))


@pytest.fixture(scope="module")
def work() -> dict[str, ComponentCost]:
    return frame_cost(TINY, TEXT_TOKENS)


def test_a_frame_goes_through_each_component_once(work):
    assert list(work) == ["kosmos_vision", "clip_vision", "projection", "kosmos_text", HEAD]


def test_the_vision_tower_of_kosmos(kosmos, work):
    assert work["kosmos_vision"].operations == counted(kosmos.vision_model, torch.zeros(1, 3, 56, 56))


def test_the_projection_to_the_text_tower(kosmos, work):
    assert work["projection"].operations == counted(kosmos.image_to_text_projection, torch.zeros(1, 17, 64))


def test_the_text_tower_of_kosmos(kosmos, work):
    ids = torch.ones(1, 8 + TEXT_TOKENS, dtype=torch.long)
    assert work["kosmos_text"].operations == counted(kosmos.text_model, input_ids=ids)


def test_the_vision_tower_of_clip(work):
    clip = CLIPModel(CLIPConfig(**TINY.clip, **EAGER))
    assert work["clip_vision"].operations == counted(clip.vision_model, torch.zeros(1, 3, 64, 64))


def matrices(*modules: nn.Module) -> int:
    weights = (tensor for module in modules for name, tensor in module.named_parameters() if "weight" in name)
    return sum(tensor.numel() for tensor in weights if tensor.ndim > 1)


def test_the_weights_are_those_of_the_matrices(work):
    model = build_model(TINY)
    assert work[HEAD].weights == matrices(model.feature_fusion, model.rnn, model.actions)
    assert work["projection"].weights == matrices(model.kosmos_model.image_to_text_projection)
    towers = {"kosmos_vision": model.kosmos_model.vision_model, "clip_vision": model.clip_model.vision_model}
    for name, tower in towers.items():
        positions = matrices(*(module for module in tower.modules() if isinstance(module, nn.Embedding)))
        assert work[name].weights == matrices(tower) - positions
    layers = model.kosmos_model.text_model.model.layers
    assert work["kosmos_text"].weights == matrices(layers)


def test_of_one_frame_the_head_multiplies_each_weight_once(work):
    assert work[HEAD].operations == 2 * work[HEAD].weights


def test_a_window_runs_through_the_lstm_whole():
    window = frame_cost(replace(TINY, history="window", window_size=5), TEXT_TOKENS)[HEAD]
    once = frame_cost(TINY, TEXT_TOKENS)[HEAD]
    assert window.weights == once.weights
    assert window.operations - once.operations == 2 * 4 * matrices(build_model(TINY).rnn)


def test_what_no_feature_needs_is_no_work():
    assert list(frame_cost(replace(TINY, features=("kosmos_text", "clip_text_embeds")), TEXT_TOKENS)) == [
        "kosmos_vision",
        "projection",
        "kosmos_text",
        HEAD,
    ]
    assert list(frame_cost(replace(TINY, features=("kosmos_image",)), 9)) == ["kosmos_vision", "projection", HEAD]
    assert list(frame_cost(replace(TINY, features=("kosmos_vision",)), 9)) == ["kosmos_vision", HEAD]
    assert list(frame_cost(replace(TINY, features=("clip_image_embeds",)), 9)) == ["clip_vision", HEAD]


@pytest.mark.parametrize("profile", ["seed", "published"])
def test_at_full_size_a_frame_is_nearly_400_billion_operations(profile):
    total = sum(each.operations for each in frame_cost(REFERENCE_CONFIGS[profile], 23).values())
    assert 3.6e11 < total < 4.0e11


# The limit.


def test_a_component_is_limited_by_its_operations_or_by_its_weights():
    machine = DevicePeak({"fp32": 100.0, "int8": 400.0}, bandwidth=10.0)
    work = {
        "many products": ComponentCost(4000, 20),
        "many weights": ComponentCost(40, 2000),
        HEAD: ComponentCost(200, 100),
    }
    assert lower_bounds(work, machine, "fp32") == {"many products": 40.0, "many weights": 800.0, HEAD: 40.0}
    assert lower_bounds(work, machine, "int8") == {"many products": 10.0, "many weights": 200.0, HEAD: 40.0}


def test_weights_that_a_machine_is_slow_in_can_be_widened():
    machine = DevicePeak({"fp32": 100.0, "bf16": 5.0, "int8": 2.0}, bandwidth=1000.0)
    work = {"kosmos_text": ComponentCost(4000, 2000)}
    assert lower_bounds(work, machine, "bf16") == lower_bounds(work, machine, "int8") == {"kosmos_text": 40.0}
    assert DevicePeak({"fp32": 100.0, "fp16": 300.0}, 1.0).rate("bf16") == 100.0, "but float16 cannot hold bfloat16"
