"""Reduced models: smaller images and fewer layers, and that they say so; and a step in its two halves."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS
from simple_clip_lstm_ros.errors import ConfigError, InputError
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor

TINY = REFERENCE_CONFIGS["tiny"]  # kosmos takes 56 pixels in patches of 14, clip 64 in patches of 16
WITHOUT_CLIP = replace(TINY, clip=None, features=("kosmos_text",))
TEXT = "go to the red door"


# The size of the image.


@settings(deadline=None, derandomize=True)
@given(st.integers(16, 64))
def test_an_encoder_is_given_whole_patches_and_as_many_as_the_size_has_room_for(size):
    config = replace(TINY, image_size=size)
    for encoder in (config.kosmos, config.clip):
        patch, trained = encoder["vision_config"]["patch_size"], encoder["vision_config"]["image_size"]
        given_size = config.input_size(encoder)
        assert given_size % patch == 0 and patch <= given_size <= min(size, trained)
        assert given_size + patch > min(size, trained)


def test_without_a_size_each_encoder_is_given_what_it_was_trained_with():
    assert (TINY.input_size(TINY.kosmos), TINY.input_size(TINY.clip)) == (56, 64)
    assert TINY.image_size is None and TINY.reductions == ""


@pytest.mark.parametrize("size", [-14, 0, 1, 15, 65, 224, 10**9])
def test_a_size_that_holds_no_patch_or_is_more_than_the_whole_is_refused(size):
    with pytest.raises(ConfigError, match=rf"^image_size: {size} .*16.*64"):
        replace(TINY, image_size=size)


def test_the_bounds_are_those_of_the_encoders_there_are():
    assert replace(WITHOUT_CLIP, image_size=14).input_size(WITHOUT_CLIP.kosmos) == 14
    with pytest.raises(ConfigError, match="image_size"):
        replace(WITHOUT_CLIP, image_size=57)


@pytest.mark.parametrize("size", ["32", 32.0, True, [32]])
def test_a_size_of_another_type_is_refused_by_name(size):
    with pytest.raises(ConfigError, match=r"image_size: .*type "):
        PolicyConfig.from_dict(TINY.to_dict() | {"image_size": size})


def test_pixels_have_that_size(frames):
    images = ImagePreprocessor(replace(TINY, image_size=45), torch.device("cpu"), torch.float32)
    pixels = images(frames[0])
    assert pixels.kosmos.shape == (1, 3, 42, 42) and pixels.clip.shape == (1, 3, 32, 32)


# What it says of itself.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"image_size": 32}, "images are reduced to 28 for kosmos, 32 for clip"),
        ({"image_size": 60}, "images are reduced to 56 for kosmos, 48 for clip"),
        ({"layers": {"kosmos_text": (0,)}}, "kosmos_text has layers 0 only"),
        ({"layers": {"clip_vision": (0, 1, 2, 7, 9, 10)}}, "clip_vision has layers 0-2, 7, 9-10 only"),
        (
            {"layers": {"kosmos_text": (1,), "rnn": (0, 1)}, "image_size": 32},
            "kosmos_text has layers 1 only; rnn has layers 0-1 only; images are reduced to 28 for kosmos, 32 for clip",
        ),
    ],
)
def test_reductions_are_told_in_words(changes, words):
    assert replace(TINY, **changes).reductions == words


def test_without_clip_its_images_are_not_spoken_of():
    assert replace(WITHOUT_CLIP, image_size=30).reductions == "images are reduced to 28 for kosmos"


def test_a_size_that_reduces_nothing_is_no_reduction():
    assert replace(TINY, image_size=64).reductions == ""


towers = st.sampled_from(["kosmos_text", "kosmos_vision", "clip_text", "clip_vision", "rnn"])
layers = st.dictionaries(towers, st.sets(st.integers(0, 23), min_size=1).map(lambda numbers: tuple(sorted(numbers))))


@settings(deadline=None, derandomize=True)
@given(layers, st.none() | st.integers(16, 64))
def test_reductions_come_back_the_same_from_json_and_yaml(kept, size):
    config = replace(TINY, layers=kept, image_size=size)
    plain = config.to_dict()
    assert plain["layers"] == {tower: list(numbers) for tower, numbers in kept.items()}
    for back in (json.loads(json.dumps(plain)), yaml.safe_load(yaml.safe_dump(plain)), plain):
        assert PolicyConfig.from_dict(back) == config


@pytest.mark.parametrize("value", [3, "all", {"rnn": 2}, {"rnn": "ab"}, [1]], ids=str)
def test_layers_of_another_type_are_refused_by_name(value):
    with pytest.raises(ConfigError, match=r"layers: .*type "):
        PolicyConfig.from_dict(TINY.to_dict() | {"layers": value})


# A reduced model.


@pytest.mark.parametrize(
    "changes", [{"image_size": 32}, {"layers": {"kosmos_text": 1}}, {"layers": {"rnn": 2}}], ids=str
)
def test_a_reduced_model_acts_otherwise_and_is_of_its_size(tiny, policy, frames, changes):
    reduced = load_policy(tiny, config=changes)
    assert reduced.config.reductions
    one, other = (p.step(frames[0], TEXT).values for p in (policy, reduced))
    assert all(np.isfinite(other)) and np.abs(np.subtract(one, other)).max() > 1e-4


def test_the_layers_that_are_left_are_the_ones_that_run(tiny):
    whole, last = load_policy(tiny), load_policy(tiny, config={"layers": {"kosmos_text": [1]}})
    whole_layers, (left,) = (p.model.kosmos_model.text_model.model.layers for p in (whole, last))
    assert torch.equal(left.ffn.fc1.weight, whole_layers[1].ffn.fc1.weight)
    assert not torch.equal(left.ffn.fc1.weight, whole_layers[0].ffn.fc1.weight)


def test_at_the_whole_size_nothing_changes(tiny, policy, frames):
    whole = load_policy(tiny, config={"image_size": 64})
    assert [whole.step(frame, TEXT).values for frame in frames] == [policy.step(frame, TEXT).values for frame in frames]


# A step in its two halves.


@pytest.mark.parametrize("history", ["carry", "window"])
@pytest.mark.parametrize("scale", [[1.0, 1.0], [2.0, -0.5]])
def test_features_and_act_are_a_step(tiny, frames, history, scale):
    config: dict[str, Any] = {"history": history, "window_size": 3, "action_scale": scale, "action_offset": [0.1, 0.2]}
    whole, halved = load_policy(tiny, config=config), load_policy(tiny, config=config)
    for frame in frames:
        step = whole.step(frame, TEXT)
        assert halved.act(halved.features(frame, TEXT)) == step.values
        assert halved.frames_seen == whole.frames_seen == step.state_step


def test_features_alone_leave_the_state_as_it_was(policy, frames):
    expected = [policy.step(frame, TEXT).values for frame in frames[:3]]
    policy.reset()
    done = [policy.step(frames[0], TEXT).values]
    for frame in frames[3:]:
        policy.features(frame, TEXT)
    assert policy.frames_seen == 1
    done += [policy.step(frame, TEXT).values for frame in frames[1:3]]
    assert done == expected


def test_features_are_those_that_the_config_names_in_its_order_and_width(policy, frames):
    found = policy.features(frames[0], TEXT)
    assert tuple(found) == policy.config.features
    assert sum(values.shape[1] for values in found.values()) == policy.config.feature_size
    assert all(values.shape[0] == 1 and values.isfinite().all() for values in found.values())


def test_features_of_a_new_instruction_begin_anew(policy, frames):
    fresh = policy.step(frames[1], "go left").values
    policy.reset()
    policy.step(frames[0], TEXT)
    assert policy.act(policy.features(frames[1], "go left")) == fresh
    assert policy.frames_seen == 1


def test_features_of_the_same_text_and_frame_are_the_same_whatever_was_before(policy, frames):
    before = policy.features(frames[0], TEXT)
    policy.step(frames[1], "go left")
    policy.step(frames[2], TEXT)
    after = policy.features(frames[0], TEXT)
    assert all(torch.equal(values, after[name]) for name, values in before.items())


def test_an_instruction_that_is_refused_is_not_taken_for_known(policy, frames):
    with pytest.raises(InputError):
        policy.features(frames[0], "go <image>")
    with pytest.raises(InputError):
        policy.features(frames[0], "go <image>")
    policy.step(frames[0], TEXT)
    with pytest.raises(InputError):
        policy.features(frames[0], " ")
    assert policy.frames_seen == 1
    assert policy.step(frames[1], TEXT).state_step == 2
