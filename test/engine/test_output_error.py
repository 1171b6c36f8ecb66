"""How far two policies are apart: the measure itself, and what it says of policies that are known to differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from examples import scale_examples
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.engine.output_error import INSTRUCTION, OutputTrace, compare_outputs, trace_outputs
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.policy.sample_images import sample_crops


@pytest.fixture(scope="module")
def frames():
    return list(sample_crops(5, seed=3))


@pytest.fixture(scope="module")
def policy(tiny):
    return load_policy(tiny, precision="fp32")


@pytest.fixture(scope="module")
def reference(policy, frames) -> OutputTrace:
    return trace_outputs(policy, frames)


def made(features: dict[str, list], actions: list, axes: tuple[str, ...] = ("linear.x", "angular.z")) -> OutputTrace:
    return OutputTrace(axes, {name: np.array(rows, float) for name, rows in features.items()}, np.array(actions, float))


# The trace.


def test_a_trace_is_what_the_policy_does_from_a_fresh_state(policy, frames, reference):
    policy.reset()
    steps = [policy.step(frame, INSTRUCTION).values for frame in frames]
    assert reference.actions.tolist() == [list(values) for values in steps]
    assert reference.axes == policy.config.action_axes
    assert list(reference.features) == list(policy.config.features)
    for name, rows in reference.features.items():
        seen = [policy.features(frame, INSTRUCTION)[name][0].double().numpy() for frame in frames]
        assert np.array_equal(rows, np.array(seen))


def test_a_trace_neither_sees_nor_leaves_a_state(policy, frames, reference):
    policy.step(frames[3], "another instruction")
    policy.step(frames[3], INSTRUCTION)
    again = trace_outputs(policy, frames)
    assert np.array_equal(again.actions, reference.actions)
    assert policy.frames_seen == 0


def test_each_frame_is_reported_when_it_is_done(policy, frames):
    seen = []
    trace_outputs(policy, iter(frames), stepped=lambda: seen.append(policy.frames_seen))
    assert seen == [1, 2, 3, 4, 5]


# The measure.


def test_equal_traces_do_not_differ(reference):
    found = compare_outputs(reference, reference)
    assert set(found.features.values()) == set(found.actions.values()) == {0.0}
    assert found.largest == 0.0


def test_the_measure_by_hand():
    one = made({"a": [[3, 4], [0, 2]], "b": [[1], [1]]}, [[1, 10], [3, 10.5], [2, 9.5]])
    other = made({"a": [[3, 9], [0, 1]], "b": [[1], [0.5]]}, [[1, 10], [3, 11], [2, 9.5]])
    found = compare_outputs(one, other)
    # Of a: 5 of 5, then 1 of 2. Of b: nothing, then a half.
    assert found.features == pytest.approx({"a": (1 + 0.5) / 2, "b": 0.25})
    spread = np.std([10, 10.5, 9.5])
    assert found.actions == pytest.approx({"linear.x": 0.0, "angular.z": np.sqrt(0.25 / 3) / spread})
    assert found.largest == pytest.approx(0.5)


@settings(deadline=None, max_examples=scale_examples(50), derandomize=True)
@given(st.floats(0.001, 1.0), st.integers(0, 1000), st.floats(0.01, 100.0))
def test_it_is_relative_to_the_reference(share, seed, unit):
    """Features that are all off by a share differ by that share, actions likewise, whatever their unit."""
    random = np.random.default_rng(seed)
    features, actions = random.normal(size=(6, 4)), random.normal(size=(6, 2))
    one = made({"a": features * unit}, actions * unit)
    other = made({"a": features * unit * (1 + share)}, (actions + share * actions.std(axis=0)) * unit)
    found = compare_outputs(one, other)
    assert found.features["a"] == pytest.approx(share)
    assert list(found.actions.values()) == pytest.approx([share, share])
    assert found.largest == pytest.approx(share * unit * actions.std(axis=0).max())


def test_an_axis_that_never_moves_is_no_division_by_zero():
    still = made({"a": [[1], [1]]}, [[0.5, 1], [0.5, 2]])
    assert compare_outputs(still, still).actions == {"linear.x": 0.0, "angular.z": 0.0}
    found = compare_outputs(still, replace(still, actions=still.actions + 0.1)).actions
    assert np.isnan(found["linear.x"]) and np.isfinite(found["angular.z"])


def test_policies_with_other_features_or_axes_cannot_be_compared(reference):
    fewer = replace(reference, features=dict(list(reference.features.items())[:-1]))
    turned = replace(reference, axes=("linear.x", "linear.y"))
    for other in (fewer, turned):
        with pytest.raises(InputError, match="cannot be compared"):
            compare_outputs(reference, other)


# What it says.


@pytest.mark.int8
def test_int8_is_further_away_than_bf16_and_both_are_near(tiny, frames, reference):
    found = {
        precision: compare_outputs(reference, trace_outputs(load_policy(tiny, precision=precision), frames))
        for precision in ("bf16", "int8")
    }
    means = {precision: np.mean(list(one.features.values())) for precision, one in found.items()}
    assert 0.0001 < means["bf16"] < means["int8"] < 0.1
    assert all(0.0 < one.largest < 0.5 for one in found.values())


def test_another_recipe_is_seen(tiny, frames, reference):
    found = compare_outputs(reference, trace_outputs(load_policy(tiny, config={"image_channels": "bgr"}), frames))
    assert max(found.features.values()) > 0.01 and found.largest > 0.01
    text_only = {"clip_text", "clip_text_embeds"} & found.features.keys()
    assert all(found.features[name] == 0.0 for name in text_only)
