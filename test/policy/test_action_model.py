"""The halves of the model: each works without the other, on its share of a checkpoint's tensors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import torch

from simple_clip_lstm_ros.policy.action_model import ActionModel
from simple_clip_lstm_ros.policy.encoders import EncoderModel
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM
from simple_clip_lstm_ros.policy.policy import Policy

ENCODERS = ("kosmos_model.", "clip_model.")


def test_the_halves_share_the_weights_and_give_the_same_action(
    tiny_model: SimpleCLIPLSTM, policy: Policy, frames: list[np.ndarray]
) -> None:
    state = tiny_model.state_dict()
    encoders, action_model = EncoderModel(tiny_model.config).eval(), ActionModel(tiny_model.config).eval()
    encoders.load_state_dict({name: each for name, each in state.items() if name.startswith(ENCODERS)})
    action_model.load_state_dict({name: each for name, each in state.items() if not name.startswith(ENCODERS)})
    features = policy.features(frames[0], "go forward")
    pixels, instruction = policy._images(frames[0]), encoders.encode_instruction(policy.tokenizer("go forward"))
    with torch.inference_mode():
        computed = encoders.features(pixels, instruction)
        action, _ = action_model.act(action_model.fuse(computed)[None], None)
        expected, _ = tiny_model(pixels, instruction, None)
    torch.testing.assert_close(computed, features)
    torch.testing.assert_close(action, expected)


def test_the_action_model_needs_no_transformers() -> None:
    code = "import sys, simple_clip_lstm_ros.policy.action_model; print('transformers' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
