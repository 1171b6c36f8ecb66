"""Policy.step: what it remembers, what it refuses, and what it computes only once."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.policy.policy import Action

TEXT = "go to the red door"


def values(policy, frames, text=TEXT):
    return [policy.step(frame, text).values for frame in frames]


@pytest.fixture
def calls(tiny_model):
    """How often each part of the model has run."""
    parts = {
        "clip text": tiny_model.clip_model.text_model,
        "clip vision": tiny_model.clip_model.vision_model,
        "kosmos vision": tiny_model.kosmos_model.vision_model,
    }
    counts = dict.fromkeys(parts, 0)

    def counting(name):
        def count(*_):
            counts[name] += 1

        return count

    hooks = [part.register_forward_hook(counting(name)) for name, part in parts.items()]
    yield counts
    for hook in hooks:
        hook.remove()


def test_the_hidden_state_persists_and_matters(policy, frames):
    fresh = policy.step(frames[1], TEXT).values
    policy.reset()
    policy.step(frames[0], TEXT)
    carried = policy.step(frames[1], TEXT).values
    assert np.abs(np.subtract(carried, fresh)).max() > 0.01


def test_the_same_frame_again_is_another_step(policy, frames):
    first, second = values(policy, [frames[0], frames[0]])
    assert first != second


def test_reset_restores_the_beginning_exactly(policy, frames):
    before = values(policy, frames)
    policy.reset()
    assert values(policy, frames) == before


@pytest.mark.parametrize("history", ["carry", "window"])
def test_what_a_fork_sees_the_policy_does_not(tiny, frames, history):
    policy = load_policy(tiny, config={"history": history})
    undisturbed = values(load_policy(tiny, config={"history": history}), frames)
    before = values(policy, frames[:2])
    fork = policy.fork()
    assert values(fork, frames[2:]) == undisturbed[2:], "it goes on from where the policy is"
    values(fork, frames, "another way")
    assert (policy.frames_seen, fork.frames_seen) == (2, len(frames))
    assert before + values(policy, frames[2:]) == undisturbed


def test_another_policy_of_the_same_checkpoint_gives_the_same_actions(policy, tiny, frames):
    assert values(policy, frames) == values(load_policy(tiny), frames)


def test_a_new_instruction_starts_from_a_fresh_state_and_an_equal_one_does_not(policy, frames):
    texts = ["go left", "go left", "go right", "go right", "go left"]
    steps = [policy.step(frame, text) for frame, text in zip(frames, texts, strict=False)]
    assert [step.state_step for step in steps] == [1, 2, 1, 2, 1]
    policy.reset()
    assert steps[2].values == policy.step(frames[2], "go right").values


def test_the_instruction_matters(policy, frames):
    left, right = policy.step(frames[0], "go left").values, policy.step(frames[0], "turn right").values
    assert np.abs(np.subtract(left, right)).max() > 0.01


def test_the_text_encoder_runs_once_for_each_instruction_and_the_vision_for_each_frame(policy, frames, calls):
    values(policy, frames[:3], "go left")
    assert calls == {"clip text": 1, "clip vision": 3, "kosmos vision": 3}
    policy.reset()
    values(policy, frames[:2], "go left")
    assert calls["clip text"] == 1
    values(policy, frames[:2], "go right")
    assert calls["clip text"] == 2


CONTROL_TOKENS = ["<image>", "<grounding>", "<patch_index_0001>", "</s>", "<|endoftext|>", "<phrase>", "</image>"]
REFUSED = {
    "": "blank",
    " \n\t": "blank",
    "go\0left": "NUL",
    **{f"go {token} left": token for token in CONTROL_TOKENS},
    "go<image>left": "<image>",
    # The tokenizers normalise before they look: CLIP's to lower case, Kosmos' to NFKC.
    "go <|ENDOFTEXT|> left": "control token",
    "go \uff1c/s\uff1e left": "control token",
    # Bytes that are no UTF-8, as a command line hands them over.
    "go \udcff left": "",
}
BAD_FRAMES = {
    "float": np.zeros((4, 4, 3), np.float32),
    "16 bit": np.zeros((4, 4, 3), np.uint16),
    "gray": np.zeros((4, 4), np.uint8),
    "one channel": np.zeros((4, 4, 1), np.uint8),
    "RGBA": np.zeros((4, 4, 4), np.uint8),
    "channels first": np.zeros((3, 4, 4), np.uint8),
    "a batch": np.zeros((1, 4, 4, 3), np.uint8),
    "no height": np.zeros((0, 4, 3), np.uint8),
    "no width": np.zeros((4, 0, 3), np.uint8),
}


def assert_refuses(policy, frames, frame, text, words):
    """It raises in one line, and the steps after it are as if it had not been."""
    undisturbed = values(policy, frames[:4])
    policy.reset()
    before = values(policy, frames[:2])
    with pytest.raises(InputError) as caught:
        policy.step(frame, text)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert before + values(policy, frames[2:4]) == undisturbed


@pytest.mark.parametrize(("text", "words"), REFUSED.items(), ids=ascii)
def test_an_instruction_that_cannot_be_used_is_refused_and_the_state_stays(text, words, policy, frames):
    assert policy.validate_instruction(text)
    assert_refuses(policy, frames, frames[0], text, words)


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_a_frame_that_cannot_be_used_is_refused_and_the_state_stays(kind, policy, frames):
    frame = BAD_FRAMES[kind]
    words = f"a frame is uint8 [height, width, 3], not {frame.dtype} {list(frame.shape)}"
    assert_refuses(policy, frames, frame, "a new instruction", words)


def test_an_instruction_beyond_the_length_that_the_model_reads_is_refused(policy, frames):
    assert_refuses(policy, frames, frames[0], "x" * 3000, "too long")


def test_a_megabyte_of_text_is_refused_unread(policy):
    assert "1000000 characters, at most 2000" in policy.validate_instruction("x" * 1_000_000)
    assert policy.validate_instruction("x" * 2000) == ""


@pytest.mark.parametrize(
    "text", ["x > y", "a < b >", "image", "100 %", "caf\u00e9 \U0001f916", "{instruction}", "a\nb"]
)
def test_text_without_control_tokens_is_accepted(text, policy, frames):
    assert policy.validate_instruction(text) == ""
    assert policy.step(frames[0], text).is_finite


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (64, 64), (480, 640), (721, 1283)], ids=str)
def test_frames_of_any_size_are_accepted(shape, policy):
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert policy.step(frame, TEXT).is_finite


def test_the_layout_of_a_frame_in_memory_does_not_matter(policy, frames):
    frame = frames[0]
    read_only = np.frombuffer(frame.tobytes(), np.uint8).reshape(frame.shape)
    reversed_twice = np.ascontiguousarray(frame[:, :, ::-1])[:, :, ::-1]
    padded = np.zeros((frame.shape[0], frame.shape[1] + 7, 3), np.uint8)
    padded[:, : frame.shape[1]] = frame
    columns_first = np.asfortranarray(frame)
    assert not read_only.flags.writeable
    expected = values(policy, [frame])
    for same in (read_only, reversed_twice, padded[:, : frame.shape[1]], columns_first):
        policy.reset()
        assert values(policy, [same]) == expected


@pytest.mark.filterwarnings("error")
def test_a_read_only_frame_makes_no_warning(policy, frames):
    read_only = np.frombuffer(frames[0].tobytes(), np.uint8).reshape(frames[0].shape)
    torch.set_warn_always(True)
    try:
        policy.step(read_only, TEXT)
    finally:
        torch.set_warn_always(False)


def test_a_step_leaves_the_frame_as_it_was(policy, frames):
    frame = frames[0].copy()
    policy.step(frame, TEXT)
    assert (frame == frames[0]).all()


def test_scale_and_offset_are_applied_to_each_axis(tiny, policy, frames):
    scaled = load_policy(tiny, config={"action_scale": [2.0, -0.5], "action_offset": [0.25, 1.0]})
    for (x, z), (scaled_x, scaled_z) in zip(values(policy, frames), values(scaled, frames), strict=True):
        assert (scaled_x, scaled_z) == pytest.approx((2.0 * x + 0.25, -0.5 * z + 1.0))


@pytest.mark.parametrize("history", ["carry", "window"])
@pytest.mark.parametrize("junk", [math.nan, math.inf])
def test_an_action_that_is_not_finite_is_told_and_resets_the_state(history, junk, tiny, frames):
    policy = load_policy(tiny, config={"history": history})
    fresh = values(policy, frames[:2])
    hook = policy.model.actions.register_forward_hook(lambda *_: torch.tensor([[0.1, junk]]))
    assert not policy.step(frames[2], TEXT).is_finite
    hook.remove()
    assert values(policy, frames[:2]) == fresh


def test_the_window_forgets_and_reset_empties_it(tiny, frames):
    policy = load_policy(tiny, config={"history": "window", "window_size": 2})
    steps = [policy.step(frame, TEXT) for frame in frames[:4]]
    assert [step.state_step for step in steps] == [1, 2, 2, 2]
    policy.reset()
    policy.step(frames[2], TEXT)
    assert policy.step(frames[3], TEXT).values == pytest.approx(steps[3].values, abs=1e-6)


def test_an_action_carries_stamp_latency_and_the_frames_seen(policy, frames):
    steps = [policy.step(frame, TEXT, stamp=100.0 + index) for index, frame in enumerate(frames)]
    assert [step.stamp for step in steps] == [100.0 + index for index in range(len(frames))]
    assert [step.state_step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert all(0.0 < step.latency < 10.0 for step in steps)
    assert policy.step(frames[0], TEXT).stamp == 0.0
    policy.reset()
    assert policy.step(frames[0], TEXT).state_step == 1


def test_an_action_is_plain_numbers_that_cannot_be_changed(policy, frames):
    action = policy.step(frames[0], TEXT)
    assert [type(value) for value in action.values] == [float, float]
    with pytest.raises(dataclasses.FrozenInstanceError):
        action.stamp = 1.0
    assert Action((0.0, 0.0), 0.0, 0.0, 1).is_finite and not Action((0.0, math.nan), 0.0, 0.0, 1).is_finite
