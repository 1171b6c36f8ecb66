"""What the node says of a model before the robot moves on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from simple_clip_lstm_ros.checkpoint import load_policy
from simple_clip_lstm_ros.node.inference_parameters import InferenceParameters, startup_warnings
from simple_clip_lstm_ros.policy.ablation import find_ignored_inputs


@pytest.fixture(scope="module")
def deaf(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like the tiny checkpoint, but no feature that depends on the text reaches its memory; trained, so it says."""
    content = torch.load(tiny, weights_only=False)
    weight = content["model_state_dict"]["feature_fusion.weight"]
    weight[:, :128] = weight[:, -40:] = 0.0  # kosmos_text and clip_text_embeds
    content["policy_config"]["untrained"] = False
    path = tmp_path_factory.mktemp("deaf") / "deaf.pth"
    torch.save(content, path)
    return path


def test_a_model_that_ignores_the_instruction_is_found_out(deaf: Path, tiny: Path) -> None:
    policy = load_policy(deaf, processors=f"{tiny}.processors", precision="fp32")
    assert find_ignored_inputs(policy, 0.01, lambda: None) == ["the instruction"]
    assert find_ignored_inputs(policy, 1.0, lambda: None) is None, (
        "eight steps of a second each are too long to wait for"
    )


def test_a_whole_model_is_not_warned_of(tiny: Path) -> None:
    policy = load_policy(tiny, precision="fp32")
    ignored = find_ignored_inputs(policy, 0.01, lambda: None)
    trained = dataclasses.replace(policy.config, untrained=False, assumed=())
    policy.config = trained
    assert (
        ignored == []
        and list(startup_warnings(InferenceParameters(checkpoint="tiny.pth"), policy, 0.01, ignored)) == []
    )


@pytest.mark.ros
def test_the_node_says_it_in_log_and_diagnostics(start, deaf: Path, tiny: Path) -> None:
    parameters = {"checkpoint": str(deaf), "processors": f"{tiny}.processors", "allow_untrained": False}
    bench = start(parameters=parameters)
    bench.activate()
    bench.until(lambda: "ignores" in bench.diagnostics, "diagnostics")
    assert bench.diagnostics["ignores"] == "the instruction"
    assert "this model ignores the instruction" in bench.process.log
    bench.camera = bench.photograph
    bench.instruct("go to the cup")
    bench.until_reason("MOVING")
    bench.until(lambda: bench.level == b"\x01", "a warning")
