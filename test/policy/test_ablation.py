"""What moves a policy: told of models of which one sense is cut off, and of whole ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from simple_clip_lstm_ros.checkpoint import load_policy
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.policy.ablation import AblationEffect, ablate, format_verdict, ignored_inputs, num_passes
from simple_clip_lstm_ros.policy.config import feature_widths
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.sample_images import sample_crops

FRAMES = list(sample_crops(4))


@pytest.fixture
def policy(tiny: Path) -> Policy:
    return load_policy(tiny, precision="fp32")


def deaf_to(policy: Policy, kept: set[str]) -> Policy:
    """The same, but for the features that its fusion reads."""
    config, begin = policy.config, 0
    weight = policy.model.feature_fusion.weight.detach().clone()
    for name in config.features:
        width = feature_widths(config.kosmos, config.clip)[name]
        weight[:, begin : begin + width] *= name in kept
        begin += width
    policy.model.feature_fusion.weight = torch.nn.Parameter(weight, requires_grad=False)
    return policy


def forgetful(policy: Policy) -> Policy:
    """Its gates keep nothing of what was before."""
    hidden = policy.config.rnn_hidden_size
    for name, tensor in list(policy.model.rnn.named_parameters()):
        tensor = tensor.detach().clone()
        if name.startswith("weight_hh"):
            tensor *= 0.0
        elif name.startswith("bias_ih"):
            tensor[hidden : 2 * hidden] = -1e4
        setattr(policy.model.rnn, name, torch.nn.Parameter(tensor, requires_grad=False))
    policy.model.rnn.flatten_parameters()
    return policy


def test_a_whole_model_uses_everything(policy: Policy) -> None:
    effects = ablate(policy, FRAMES)
    assert ignored_inputs(effects) == []
    assert format_verdict(effects) == "this model uses the image and the instruction and its memory"
    assert [effect.sense for effect in effects] == ["image"] * 3 + ["instruction"] * 4 + ["state"]
    assert all(set(effect.by_axis) == {"linear.x", "angular.z"} for effect in effects)


@pytest.mark.parametrize("short", [False, True])
def test_a_model_that_reads_no_text_is_found_out(policy: Policy, short: bool) -> None:
    effects = ablate(deaf_to(policy, {"kosmos_vision", "clip_vision", "clip_image_embeds"}), FRAMES, short=short)
    assert ignored_inputs(effects) == ["the instruction"]
    assert format_verdict(effects).endswith("ignores the instruction")
    assert all(effect.share == 0.0 for effect in effects if effect.sense == "instruction")


@pytest.mark.parametrize("short", [False, True])
def test_a_blind_model_is_found_out(policy: Policy, short: bool) -> None:
    effects = ablate(deaf_to(policy, {"clip_text_embeds"}), FRAMES, short=short)
    assert ignored_inputs(effects) == ["the image"]


@pytest.mark.parametrize("short", [False, True])
def test_a_model_without_memory_is_found_out(policy: Policy, short: bool) -> None:
    assert ignored_inputs(ablate(forgetful(policy), FRAMES, short=short)) == ["its memory"]


def test_a_constant_output_ignores_everything(policy: Policy) -> None:
    effects = ablate(deaf_to(policy, set()), FRAMES)
    assert ignored_inputs(effects)[:2] == ["the image", "the instruction"]


def test_an_effect_is_the_change_of_the_action(policy: Policy) -> None:
    """The first frame, by hand: the action on grey less that on the frame."""
    blank = ablate(policy, FRAMES[:2])[0]
    text = "go around the left side of the box and reach the cup"
    truth = np.array([policy.step(frame, text).values for frame in FRAMES[:2]])
    policy.reset()
    grey = np.full_like(FRAMES[0], 128)
    moved = np.array([policy.step(grey, text).values for _ in range(2)]) - truth
    rms = np.sqrt((moved**2).mean(axis=0))
    assert list(blank.by_axis.values()) == pytest.approx(rms)
    assert blank.share == pytest.approx(np.sqrt((moved**2).mean() / (truth**2).mean()))


def test_words_follow_the_largest_effect() -> None:
    def told(image: float, text: float, state: float) -> str:
        shares = {"image": image, "instruction": text, "state": state}
        return format_verdict([AblationEffect(sense, "", {}, share) for sense, share in shares.items()])

    assert told(0.5, 0.05, 0.001) == "this model uses the image, hardly uses the instruction, ignores its memory"
    assert told(0.0, 0.0, 0.0) == "this model ignores the image and the instruction and its memory"


def test_it_steps_as_often_as_it_says_and_leaves_the_policy_fresh(policy: Policy) -> None:
    for short in (False, True):
        steps: Iterator[int] = iter(range(1000))
        ablate(policy, FRAMES[:2], short=short, stepped=lambda steps=steps: next(steps))
        assert next(steps) == 2 * num_passes(short)
    assert policy.frames_seen == 0


def test_one_frame_is_refused(policy: Policy) -> None:
    with pytest.raises(InputError, match="at least two frames"):
        ablate(policy, FRAMES[:1])
