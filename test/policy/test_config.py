"""PolicyConfig: what contradicts itself is refused, and what is written down comes back the same."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.policy.config import (
    FEATURES,
    PREPROCESSING,
    PolicyConfig,
    choices_of,
    feature_widths,
    merge_settings,
)

TINY = REFERENCE_CONFIGS["tiny"]
CHOICES = {name: choices_of(name) for name in PREPROCESSING if choices_of(name)}
FORMATS = {
    "JSON": lambda values: json.loads(json.dumps(values, allow_nan=False)),
    "YAML": lambda values: yaml.safe_load(yaml.safe_dump(values)),
    "pickle": lambda values: pickle.loads(pickle.dumps(values)),
}

numbers = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]))
axes = st.permutations(["linear.x", "linear.y", "angular.z"]).map(lambda names: names[:2])
recipes = st.fixed_dictionaries(
    {name: st.sampled_from(values) for name, values in CHOICES.items()}
    | {
        "features": st.permutations(FEATURES).flatmap(lambda names: st.integers(1, 7).map(lambda n: tuple(names[:n]))),
        "prompt": st.tuples(text, text).map(lambda around: f"<image>{around[0]}{{instruction}}{around[1]}"),
        "window_size": st.integers(1, 1000),
        "action_axes": axes.map(tuple),
        "action_scale": st.tuples(numbers, numbers),
        "action_offset": st.tuples(numbers, numbers),
        "untrained": st.booleans(),
        "assumed": st.lists(st.sampled_from(PREPROCESSING), unique=True).map(tuple),
    }
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(recipes, st.sampled_from(list(FORMATS)))
def test_every_config_comes_back_the_same_from_json_yaml_and_pickle(recipe, written_as):
    config = replace(TINY, **recipe)
    assert PolicyConfig.from_dict(FORMATS[written_as](config.to_dict())) == config


@pytest.mark.parametrize("written_as", FORMATS)
@pytest.mark.parametrize("profile", REFERENCE_CONFIGS)
def test_every_profile_comes_back_the_same(profile, written_as):
    config = REFERENCE_CONFIGS[profile]
    assert PolicyConfig.from_dict(FORMATS[written_as](config.to_dict())) == config


def test_a_config_without_clip_and_fusion_comes_back_the_same():
    config = replace(TINY, clip=None, fusion_size=None, features=("kosmos_text",))
    assert PolicyConfig.from_dict(FORMATS["JSON"](config.to_dict())) == config


def test_the_fields_with_choices_are_the_ones_expected():
    assert set(CHOICES) == {
        *("kosmos_text_pooling", "image_normalization", "image_crop", "image_channels", "rotate_180"),
        *("mlp_activation", "final_tanh", "history"),
    }


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_takes_each_of_its_values_and_refuses_any_other_by_naming_them(name):
    for value in CHOICES[name]:
        assert getattr(replace(TINY, **{name: value}), name) == value
    with pytest.raises(ConfigError) as caught:
        replace(TINY, **{name: "junk"})
    assert str(caught.value) == f"{name}: 'junk' is not one of {', '.join(map(str, CHOICES[name]))}"


def changed(**values: Any) -> PolicyConfig:
    return PolicyConfig.from_dict({**TINY.to_dict(), **values})


THREE_OUTPUTS = {"mlp": {0: [32, 48], 1: [32], 4: [3, 32]}}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a head with three outputs": (THREE_OUTPUTS, "the action head has 3 outputs but action_axes names 2"),
    "an axis too few": ({"action_axes": ["linear.x"]}, "the action head has 2 outputs but action_axes names 1"),
    "the same axis twice": ({"action_axes": ["linear.x", "linear.x"]}, "action_axes must be different names of"),
    "an unknown axis": ({"action_axes": ["linear.x", "yaw"]}, "action_axes must be different names of linear.x, "),
    "a scale too many": ({"action_scale": [1, 1, 1]}, "action_scale needs 2 finite values"),
    "no offset": ({"action_offset": []}, "action_offset needs 2 finite values"),
    "no features": ({"features": []}, "features is empty; choose from what this model gives: kosmos_text, "),
    "an unknown feature": ({"features": ["kosmos"]}, "features: 'kosmos' is not among what this model gives: "),
    "a CLIP feature without CLIP": (
        {"clip": None},
        "features: 'clip_vision' is not among what this model gives: kosmos_text, kosmos_image, kosmos_vision",
    ),
    "a head that does not fit the LSTM": (
        {"mlp": {0: [2, 47]}},
        "actions.mlp.0 has weights of [2, 47] but is given 48",
    ),
    "a head that does not fit itself": (
        {"mlp": {0: [32, 48], 1: [31], 4: [2, 32]}},
        "actions.mlp.1 has weights of [31] but is given 32 values",
    ),
    "a head that ends in a LayerNorm": ({"mlp": {0: [2, 48], 1: [2]}}, "actions.mlp does not end in a Linear layer"),
    "a head without layers": ({"mlp": {}}, "actions.mlp does not end in a Linear layer"),
    "an empty window": ({"window_size": 0}, "window_size must be at least 1, not 0"),
    "no image in the prompt": ({"prompt": "{instruction}"}, "prompt must begin with <image>"),
    "an image late in the prompt": ({"prompt": "a <image>{instruction}"}, "prompt must begin with <image>"),
    "no instruction in the prompt": ({"prompt": "<image>"}, "prompt must begin with <image> and contain {instruction}"),
    "a misspelt name": ({"final_tan": True}, "unknown PolicyConfig setting 'final_tan'; did you mean final_tanh?"),
    "an unknown name": ({"zzz": 1}, "unknown PolicyConfig setting 'zzz'; known are kosmos, clip, fusion_size, "),
    "a number as a name": ({3: 1}, "unknown PolicyConfig setting 3; "),
}


@pytest.mark.parametrize(("values", "words"), WRONG.values(), ids=WRONG)
def test_a_contradiction_is_refused_in_one_line(values, words):
    with pytest.raises(ConfigError) as caught:
        PolicyConfig.from_dict({**TINY.to_dict(), **values})
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["action_scale", "action_offset"])
@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
def test_a_scale_or_offset_that_is_not_finite_is_refused(name, junk):
    with pytest.raises(ConfigError, match=f"{name} needs 2 finite values"):
        replace(TINY, **{name: (1.0, junk)})


WRONG_TYPES = [
    ("window_size", "8"),
    ("window_size", 8.0),
    ("window_size", True),
    ("window_size", None),
    ("rotate_180", 1),
    ("rotate_180", "false"),
    ("prompt", ["<image>{instruction}"]),
    ("history", 3),
    ("features", "kosmos_text"),
    ("features", None),
    ("features", 5),
    ("action_scale", 2.0),
    ("action_scale", ["fast", 1.0]),
    ("action_axes", "linear.x"),
    ("kosmos", None),
    ("kosmos", []),
    ("clip", "yes"),
    ("mlp", {"first": [2, 48]}),
    ("mlp", {0: 2}),
    ("fusion_size", "96"),
    ("untrained", "no"),
]


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES, ids=str)
def test_a_value_of_another_type_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"^PolicyConfig setting {name}: .* is not of type "):
        changed(**{name: value})


@pytest.mark.parametrize(
    "values",
    [{"kosmos": {}}, {"kosmos": {"text_config": 5}}, {"clip": {"text_config": {}}}],
    ids=str,
)
def test_encoder_settings_without_sizes_are_refused(values):
    with pytest.raises(ConfigError, match="with all sizes"):
        changed(**values)


def test_a_config_without_sizes_is_refused():
    with pytest.raises(ConfigError, match="kosmos"):
        PolicyConfig.from_dict({"prompt": "<image>{instruction}"})


def test_three_axes_for_three_outputs_are_fine():
    config = changed(
        **THREE_OUTPUTS,
        action_axes=["linear.x", "linear.y", "angular.z"],
        action_scale=[1, 2, 3],
        action_offset=[0, 0, 0],
    )
    assert config.action_size == 3 and config.action_scale == (1.0, 2.0, 3.0)


def test_widths_add_up_as_in_the_two_known_checkpoints():
    seed, published = REFERENCE_CONFIGS["seed"], REFERENCE_CONFIGS["published"]
    assert feature_widths(seed.kosmos, seed.clip) == {
        "kosmos_text": 2048,
        "kosmos_image": 2048,
        "kosmos_vision": 1024,
        "clip_vision": 768,
        "clip_text": 512,
        "clip_image_embeds": 512,
        "clip_text_embeds": 512,
    }
    assert (seed.feature_size, seed.rnn_input_size, seed.action_size) == (4864, 2048, 2)
    assert (published.feature_size, published.rnn_input_size) == (2560, 2048)


def test_without_fusion_the_features_go_to_the_lstm_as_they_are():
    config = replace(TINY, fusion_size=None)
    assert config.rnn_input_size == config.feature_size == 128 + 64 + 128 + 40 + 40


def test_the_defaults_of_the_recipe_are_those_documented():
    config = PolicyConfig(TINY.kosmos, TINY.clip, TINY.fusion_size, 48, 4, TINY.mlp)
    assert {name: getattr(config, name) for name in PREPROCESSING} == {
        "features": ("kosmos_text",),
        "prompt": "<image>{instruction}",
        "kosmos_text_pooling": "mean",
        "image_normalization": "clip",
        "image_crop": "none",
        "image_channels": "rgb",
        "rotate_180": False,
        "mlp_activation": "relu",
        "final_tanh": False,
        "history": "carry",
        "window_size": 8,
        "action_axes": ("linear.x", "angular.z"),
        "action_scale": (1.0, 1.0),
        "action_offset": (0.0, 0.0),
    }
    assert not config.untrained and config.assumed == ()


def test_merging_reaches_into_mappings_and_leaves_both_sides_as_they_were():
    base, over = {"a": {"x": 1, "y": 2}, "b": [1], "c": None}, {"a": {"y": 3}, "b": [2], "c": {"z": 1}}
    assert merge_settings(base, over) == {"a": {"x": 1, "y": 3}, "b": [2], "c": {"z": 1}}
    assert base == {"a": {"x": 1, "y": 2}, "b": [1], "c": None} and over["a"] == {"y": 3}
