"""A config from names and shapes: the real sizes as Hugging Face's own default configs build them, and small ones."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
from transformers import CLIPConfig, CLIPModel, Kosmos2Config, Kosmos2Model

from simple_clip_lstm_ros.checkpoint.build import build_model, expected_shapes
from simple_clip_lstm_ros.checkpoint.infer_config import feature_sums, infer_config
from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS
from simple_clip_lstm_ros.errors import CheckpointError, ConfigError
from simple_clip_lstm_ros.policy.config import PREPROCESSING, PolicyConfig, feature_widths

Shapes = dict[str, tuple[int, ...]]

ALL_FIVE = ("kosmos_text", "kosmos_vision", "clip_vision", "clip_image_embeds", "clip_text_embeds")


@pytest.fixture(scope="module")
def kosmos() -> Shapes:
    with torch.device("meta"):
        return _shapes("kosmos_model.", Kosmos2Model(Kosmos2Config()))


@pytest.fixture(scope="module")
def clip() -> Shapes:
    with torch.device("meta"):
        return _shapes("clip_model.", CLIPModel(CLIPConfig()))


def _shapes(prefix: str, module: torch.nn.Module) -> Shapes:
    return {prefix + name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _head(inputs: int, hidden: int, *modules: tuple[int, tuple[int, ...]], fused: int | None = None) -> Shapes:
    """Fusion of `inputs`, four LSTM layers of `hidden`, and the modules of actions.mlp with their biases."""
    shapes: Shapes = {}
    if fused:
        shapes |= {"feature_fusion.weight": (fused, inputs), "feature_fusion.bias": (fused,)}
    with torch.device("meta"):
        shapes |= _shapes("rnn.", torch.nn.LSTM(fused or inputs, hidden, 4))
    for index, shape in modules:
        shapes |= {f"actions.mlp.{index}.weight": shape, f"actions.mlp.{index}.bias": shape[:1]}
    return shapes


def _published_head(inputs: int, hidden: int) -> Shapes:
    layers = (0, (512, hidden)), (1, (512,)), (4, (512, 512)), (5, (512,)), (8, (2, 512))
    return _head(inputs, hidden, *layers, fused=2048)


def test_the_published_checkpoint_is_known_by_its_shapes(kosmos: Shapes, clip: Shapes) -> None:
    shapes = kosmos | clip | _published_head(2560, 1024)
    assert len(shapes) == 1311
    assert sum(map(prod, shapes.values())) == 1_859_579_651

    config = infer_config(shapes)
    assert expected_shapes(build_model(config)) == shapes
    assert config.features == ("kosmos_text", "clip_text_embeds")
    assert (config.fusion_size, config.rnn_hidden_size, config.rnn_num_layers) == (2048, 1024, 4)
    _assert_sizes_and_heads_of_hugging_face(config)


def test_the_seed_checkpoint_is_known_by_its_shapes(kosmos: Shapes, clip: Shapes) -> None:
    shapes = kosmos | clip | _published_head(4864, 512)
    assert len(shapes) == 1311
    config = infer_config(shapes)
    assert expected_shapes(build_model(config)) == shapes
    assert config.features == ALL_FIVE
    assert config.rnn_hidden_size == 512
    _assert_sizes_and_heads_of_hugging_face(config)


def test_the_family_without_clip_and_fusion_is_known_by_its_shapes(kosmos: Shapes) -> None:
    layers = (0, (1024, 1024)), (3, (512, 1024)), (6, (256, 512)), (9, (2, 256))
    shapes = kosmos | _head(2048, 1024, *layers)
    assert len(shapes) == 909
    assert sum(map(prod, shapes.values())) == 1_703_973_122

    config = infer_config(shapes)
    assert expected_shapes(build_model(config)) == shapes
    assert config.features == ("kosmos_text",)
    assert (config.clip, config.fusion_size, config.rnn_input_size) == (None, None, 2048)


def _assert_sizes_and_heads_of_hugging_face(config: PolicyConfig) -> None:
    """What the model is built from must be the default configs, heads, activations and image sizes included."""
    for built, default in (
        (Kosmos2Config(**config.kosmos), Kosmos2Config()),
        (CLIPConfig(**config.clip), CLIPConfig()),
    ):
        for tower in ("text_config", "vision_config"):
            ours, theirs = getattr(built, tower).to_dict(), getattr(default, tower).to_dict()
            differing = {name for name in theirs if ours.get(name) != theirs[name]}
            # The end of a text is stated by id here; Hugging Face's default names the same token.
            assert differing <= {"bos_token_id", "eos_token_id"}, differing
    assert config.clip["text_config"]["eos_token_id"] == 49407


@pytest.mark.parametrize(("profile", "inputs", "hidden"), [("seed", 4864, 512), ("published", 2560, 1024)])
def test_a_full_size_profile_needs_just_the_tensors_of_the_real_file(
    kosmos: Shapes, clip: Shapes, profile: str, inputs: int, hidden: int
) -> None:
    assert expected_shapes(build_model(REFERENCE_CONFIGS[profile])) == kosmos | clip | _published_head(inputs, hidden)


@pytest.mark.parametrize("width", [2600, 4863, 1])
def test_a_fusion_width_that_no_sum_explains_is_an_error_with_the_widths(
    kosmos: Shapes, clip: Shapes, width: int
) -> None:
    with pytest.raises(CheckpointError, match=rf"{width} inputs.*kosmos_text 2048.*clip_text_embeds 512"):
        infer_config(kosmos | clip | _published_head(width, 512))


def test_a_width_that_only_uncommon_lists_explain_must_be_stated(kosmos: Shapes, clip: Shapes) -> None:
    shapes = kosmos | clip | _published_head(2048 + 768, 512)
    with pytest.raises(ConfigError, match=r"features: .*kosmos_text \+ clip_vision"):
        infer_config(shapes)
    config = infer_config(shapes, overrides={"features": ["kosmos_text", "clip_vision"]})
    assert config.features == ("kosmos_text", "clip_vision")


def test_features_that_do_not_add_up_are_refused_with_those_that_do(kosmos: Shapes, clip: Shapes) -> None:
    with pytest.raises(ConfigError, match=r"2048 .* 2560.*kosmos_text \+ clip_text_embeds"):
        infer_config(kosmos | clip | _published_head(2560, 1024), overrides={"features": ["kosmos_text"]})


def test_every_feature_sum_is_offered_once(tiny_shapes: Shapes) -> None:
    config = infer_config(tiny_shapes)
    widths = feature_widths(config.kosmos, config.clip)
    sums = feature_sums(config, config.feature_size)
    assert ALL_FIVE in sums
    assert len({frozenset(names) for names in sums}) == len(sums)
    assert all(sum(widths[name] for name in names) == config.feature_size for names in sums)


# --- who wins -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "stated", "overriding"),
    [
        ("kosmos_text_pooling", "last", "first"),
        ("image_normalization", "imagenet", "unit"),
        ("rotate_180", True, False),
        ("window_size", 4, 5),
        ("prompt", "<image>Go: {instruction}", "<image>Do: {instruction}"),
        ("action_axes", ("linear.x", "linear.y"), ("linear.y", "angular.z")),
        ("action_scale", (0.5, 2.0), (3.0, 4.0)),
    ],
)
def test_the_user_wins_over_the_file_and_the_file_over_the_guess(
    tiny_shapes: Shapes, setting: str, stated: Any, overriding: Any
) -> None:
    guessed = getattr(infer_config(tiny_shapes), setting)
    assert guessed != stated or guessed != overriding
    assert getattr(infer_config(tiny_shapes, {setting: stated}), setting) == stated
    assert getattr(infer_config(tiny_shapes, {setting: stated}, {setting: overriding}), setting) == overriding
    assert getattr(infer_config(tiny_shapes, None, {setting: overriding}), setting) == overriding


@pytest.mark.parametrize("kind", [int, str])
def test_the_user_wins_over_sizes_of_the_head_however_its_index_is_written(tiny_shapes: Shapes, kind: type) -> None:
    stated = infer_config(tiny_shapes).to_dict()
    wider = {4: (77, 32), 5: (77,), 8: (2, 77)}
    config = infer_config(tiny_shapes, stated, {"mlp": {kind(index): list(shape) for index, shape in wider.items()}})
    assert config.mlp == infer_config(tiny_shapes).mlp | wider


def test_heads_that_are_stated_win_over_the_guess(tiny_shapes: Shapes) -> None:
    config = infer_config(tiny_shapes, {"kosmos": {"text_config": {"attention_heads": 4}}})
    assert config.kosmos["text_config"]["attention_heads"] == 4
    assert (
        config.kosmos["text_config"]["embed_dim"] == tiny_shapes["kosmos_model.text_model.model.embed_tokens.weight"][1]
    )


# --- what is assumed ------------------------------------------------------------------------------------------

HEADS = {
    "kosmos.text_config.attention_heads",
    "kosmos.vision_config.num_attention_heads",
    "clip.text_config.num_attention_heads",
    "clip.vision_config.num_attention_heads",
}


def test_without_a_config_the_whole_recipe_and_the_heads_are_assumed(tiny_shapes: Shapes) -> None:
    # The window's length is no question while the state is carried.
    assert set(infer_config(tiny_shapes).assumed) == {*PREPROCESSING, *HEADS} - {"window_size"}


def test_the_window_is_assumed_where_it_matters(tiny_shapes: Shapes) -> None:
    assert "window_size" in infer_config(tiny_shapes, {"history": "window"}).assumed


def test_what_the_file_or_the_user_states_is_not_assumed(tiny_shapes: Shapes) -> None:
    config = infer_config(
        tiny_shapes,
        {"prompt": "<image>{instruction}", "clip": {"text_config": {"num_attention_heads": 1}}},
        {"final_tanh": True, "kosmos": {"text_config": {"attention_heads": 2}}},
    )
    stated = {"prompt", "final_tanh", "clip.text_config.num_attention_heads", "kosmos.text_config.attention_heads"}
    assert set(config.assumed) == {*PREPROCESSING, *HEADS} - {"window_size"} - stated


def test_a_full_config_leaves_nothing_to_assume(tiny_shapes: Shapes) -> None:
    stated = infer_config(tiny_shapes).to_dict() | {"assumed": []}
    assert infer_config(tiny_shapes, stated).assumed == ()


def test_what_the_file_lists_as_assumed_stays_so_until_the_user_states_it(tiny_shapes: Shapes) -> None:
    """A converted file states everything, but some of it was assumed when it was made."""
    stated = infer_config(tiny_shapes).to_dict() | {"assumed": ["prompt", "image_crop"]}
    assert infer_config(tiny_shapes, stated).assumed == ("prompt", "image_crop")
    assert infer_config(tiny_shapes, stated, {"prompt": "<image>{instruction}"}).assumed == ("image_crop",)


def test_neither_file_nor_override_is_changed(tiny_shapes: Shapes) -> None:
    stated, overrides = {"kosmos": {"text_config": {}}}, {"clip": {"vision_config": {}}}
    infer_config(tiny_shapes, stated, overrides)
    assert stated == {"kosmos": {"text_config": {}}}
    assert overrides == {"clip": {"vision_config": {}}}
