"""Deriving sizes from the shapes of any small model, and refusing shapes that do not belong together."""

from __future__ import annotations

import contextlib
import functools
import json
from typing import Any

import pytest
from examples import scale_examples
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_clip_lstm_ros.checkpoint.build import build_model, expected_shapes
from simple_clip_lstm_ros.checkpoint.infer_config import infer_config
from simple_clip_lstm_ros.checkpoint.spec import diff_shapes
from simple_clip_lstm_ros.errors import CheckpointError, ConfigError, SimpleClipLstmError
from simple_clip_lstm_ros.policy.config import PolicyConfig, feature_widths

Shapes = dict[str, tuple[int, ...]]

widths = st.sampled_from((64, 128, 192))
sizes = st.integers(1, 40)
layers = st.integers(1, 3)


@st.composite
def kosmos_settings(draw: st.DrawFn) -> dict[str, Any]:
    width = draw(widths)
    return {
        "text_config": {
            "vocab_size": draw(st.integers(20, 90)),
            "embed_dim": width,
            "layers": draw(layers),
            "ffn_dim": draw(sizes),
            "attention_heads": width // 64,
        },
        "vision_config": draw(vision_settings()),
        "latent_query_num": draw(sizes),
    }


@st.composite
def vision_settings(draw: st.DrawFn) -> dict[str, Any]:
    width, patch = draw(widths), draw(st.integers(2, 16))
    return {
        "hidden_size": width,
        "intermediate_size": draw(sizes),
        "num_hidden_layers": draw(layers),
        "num_attention_heads": width // 64,
        "num_channels": 3,
        "patch_size": patch,
        "image_size": patch * draw(st.integers(1, 6)),
    }


@st.composite
def clip_settings(draw: st.DrawFn) -> dict[str, Any]:
    width, projection, vocabulary = draw(widths), draw(sizes), draw(st.integers(20, 90))
    text = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": draw(sizes),
        "num_hidden_layers": draw(layers),
        "num_attention_heads": width // 64,
        "max_position_embeddings": draw(sizes),
        "projection_dim": projection,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }
    vision = draw(vision_settings()) | {"projection_dim": projection}
    return {"text_config": text, "vision_config": vision, "projection_dim": projection}


@st.composite
def configs(draw: st.DrawFn) -> PolicyConfig:
    kosmos, clip = draw(kosmos_settings()), draw(st.none() | clip_settings())
    features = draw(st.lists(st.sampled_from(sorted(feature_widths(kosmos, clip))), min_size=1, unique=True))
    hidden, inner = draw(sizes), draw(sizes)
    head = draw(
        st.sampled_from(
            (
                {0: (2, hidden)},
                {0: (inner, hidden), 3: (2, inner)},
                {0: (inner, hidden), 1: (inner,), 4: (inner, inner), 5: (inner,), 8: (2, inner)},
                {0: (hidden,), 1: (2, hidden)},
            )
        )
    )
    return PolicyConfig(kosmos, clip, draw(st.none() | sizes), hidden, draw(layers), head, features=tuple(features))


@settings(max_examples=scale_examples(25), deadline=None)
@given(configs())
def test_the_shapes_of_any_small_model_give_its_config_back(config: PolicyConfig) -> None:
    shapes = expected_shapes(build_model(config))
    found = infer_config(shapes, overrides={"features": config.features})
    for name in ("kosmos", "clip", "fusion_size", "rnn_hidden_size", "rnn_num_layers", "mlp"):
        assert getattr(found, name) == getattr(config, name), name
    assert expected_shapes(build_model(found)) == shapes


# Counts of rows that nothing else in the file repeats: only the file's own config could contradict them.
FREE = ("embed_tokens", "token_embedding", "text_model.embeddings.position_embedding", "latent_query")


def test_no_tensor_may_have_another_shape(tiny_shapes: Shapes) -> None:
    """Sizes are read off the tensors, so a changed one must contradict its neighbours, and not become the truth."""
    accepted = []
    for name, shape in tiny_shapes.items():
        if ".layers.1." in name or name.startswith(("rnn.bias", "rnn.weight_ih_l2")):
            continue  # the same as their neighbours
        for dimension in range(len(shape)):
            changed = (*shape[:dimension], shape[dimension] + 1, *shape[dimension + 1 :])
            if dimension == 0 and any(part in name for part in FREE):
                continue
            if _would_load(tiny_shapes | {name: changed}):
                accepted.append(f"{name} {list(shape)} as {list(changed)}")
    assert not accepted


@pytest.mark.parametrize("stated", [True, False], ids=["with a config", "without a config"])
def test_no_tensor_may_be_missing(tiny_shapes: Shapes, stated: bool) -> None:
    own = infer_config(tiny_shapes).to_dict() if stated else None
    accepted = [name for name in tiny_shapes if _would_load({n: tiny_shapes[n] for n in tiny_shapes if n != name}, own)]
    assert not accepted


def _would_load(shapes: Shapes, stated: dict[str, Any] | None = None) -> bool:
    try:
        return not diff_shapes(_needed(json.dumps(infer_config(shapes, stated).to_dict())), shapes)
    except SimpleClipLstmError:
        return False


@functools.lru_cache
def _needed(config: str) -> Shapes:
    return expected_shapes(build_model(PolicyConfig.from_dict(json.loads(config))))


# --- head counts ----------------------------------------------------------------------------------------------


def _with_width_96(shapes: Shapes) -> Shapes:
    """The CLIP vision tower, 128 wide in the tiny profile, at another width."""
    return {
        name: tuple(96 if size == 128 else size for size in shape) if "clip_model.vision" in name else shape
        for name, shape in shapes.items()
    }


def test_a_width_that_does_not_tell_its_heads_is_an_error_that_says_what_to_state(tiny_shapes: Shapes) -> None:
    with pytest.raises(ConfigError, match=r"width of 96.*state clip: \{vision_config: \{num_attention_heads: N\}\}"):
        infer_config(_with_width_96(tiny_shapes))


@pytest.mark.parametrize("who", ["file", "user"])
def test_stated_heads_settle_it(tiny_shapes: Shapes, who: str) -> None:
    heads = {"clip": {"vision_config": {"num_attention_heads": 3}}, "features": ["kosmos_text", "clip_vision"]}
    shapes = _with_width_96(tiny_shapes) | {"feature_fusion.weight": (96, 128 + 96)}
    config = infer_config(shapes, *((heads, None) if who == "file" else (None, heads)))
    assert config.clip["vision_config"]["num_attention_heads"] == 3
    assert "clip.vision_config.num_attention_heads" not in config.assumed


# --- what cannot be a policy ----------------------------------------------------------------------------------


def test_another_model_is_told_by_what_it_lacks_and_holds() -> None:
    resnet = {"conv1.weight": (64, 3, 7, 7), "layer1.0.bn1.weight": (64,), "layer1.0.bn1.bias": (64,), "fc.bias": (9,)}
    with pytest.raises(CheckpointError, match=r"no kosmos_model, rnn, actions.*layer1 \(2\)"):
        infer_config(resnet)


def test_a_file_without_any_tensor_is_told_as_such() -> None:
    with pytest.raises(CheckpointError, match="holds no tensors"):
        infer_config({})


def test_a_head_with_three_outputs_is_refused_until_three_axes_are_named(tiny_shapes: Shapes) -> None:
    shapes = tiny_shapes | {"actions.mlp.8.weight": (3, 32), "actions.mlp.8.bias": (3,)}
    with pytest.raises(ConfigError, match=r"3 outputs .*action_axes names 2 .*action_axes"):
        infer_config(shapes)
    named = {
        "action_axes": ["linear.x", "linear.y", "angular.z"],
        "action_scale": [1, 1, 1],
        "action_offset": [0, 0, 0],
    }
    assert infer_config(shapes, overrides=named).action_size == 3


@pytest.mark.parametrize("by", ["file", "user"])
@pytest.mark.parametrize(
    "setting",
    [
        {"image_normalisation": "clip"},
        {"kosmos": 5},
        {"kosmos": None},
        {"kosmos": {"text_config": 3}},
        {"kosmos": {"text_confg": {"attention_heads": 2}}},
        {"kosmos": {"text_config": {"attention_head": 2}}},
        {"kosmos": {"text_config": {"attention_heads": 3}}},
        {"kosmos": {"text_config": {"attention_heads": 0}}},
        {"kosmos": {"text_config": {"attention_heads": "two"}}},
        {"kosmos": {"text_config": {"activation_function": "rleu"}}},
        {"clip": 7},
        {"clip": None},
        {"rnn_hidden_size": 0},
        {"rnn_num_layers": 0},
        {"rnn_num_layers": 3},
        {"fusion_size": -3},
        {"fusion_size": "96"},
        {"mlp": 5},
        {"mlp": {8: [2]}},
        {"mlp": {8: []}},
        {"mlp": {8: [2, 3, 4]}},
        {"features": []},
        {"features": "kosmos_text"},
        {"features": ["kosmos_txt"]},
        {"prompt": "{instruction}"},
        {"prompt": 5},
        {"kosmos_text_pooling": "max"},
        {"rotate_180": 1},
        {"window_size": 0},
        {"window_size": 2.5},
        {"action_axes": ["linear.x", "linear.x"]},
        {"action_axes": ["linear.x", "linear.z"]},
        {"action_scale": [1]},
        {"action_scale": ["fast", 1]},
        {"action_offset": [0, float("nan")]},
        {"untrained": "yes"},
        {3: 4},
    ],
    ids=str,
)
def test_a_setting_that_makes_no_sense_is_refused_in_one_line(tiny_shapes: Shapes, setting: Any, by: str) -> None:
    own = infer_config(tiny_shapes).to_dict()
    with pytest.raises(SimpleClipLstmError) as raised:
        config = infer_config(tiny_shapes, *((own | setting, None) if by == "file" else (own, setting)))
        if mismatch := diff_shapes(expected_shapes(build_model(config)), tiny_shapes):
            raise CheckpointError(mismatch)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("assumed", [5, [["features"]], ["nonsense"], ["kosmos.text_config.nonsense"]], ids=str)
def test_a_file_that_assumes_what_is_no_setting_is_refused(tiny_shapes: Shapes, assumed: Any) -> None:
    with pytest.raises(ConfigError, match="assumed"):
        infer_config(tiny_shapes, infer_config(tiny_shapes).to_dict() | {"assumed": assumed})


def test_an_unknown_setting_is_answered_with_the_likely_name(tiny_shapes: Shapes) -> None:
    with pytest.raises(ConfigError, match=r"unknown .*'image_normalisation'; did you mean image_normalization\?"):
        infer_config(tiny_shapes, overrides={"image_normalisation": "clip"})


def test_no_setting_of_the_user_turns_random_weights_into_trained_ones(tiny_shapes: Shapes) -> None:
    """A robot stands still on random weights; only allow_untrained lifts that, and a settings file is not the place."""
    with contextlib.suppress(ConfigError):
        assert infer_config(tiny_shapes, {"untrained": True}, {"untrained": False}).untrained
