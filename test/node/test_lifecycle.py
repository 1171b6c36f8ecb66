"""Transitions of the managed node: the right ones work again and again; the wrong ones are refused, without harm."""

from __future__ import annotations

import re
import shutil
import time

import pytest
import torch
from lifecycle_msgs.srv import ChangeState

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def files(tiny, tmp_path_factory):
    """Broken copies of the tiny checkpoint, and PolicyConfig files."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copytree(f"{tiny}.processors", folder / "processors")
    (folder / "truncated.pth").write_bytes(tiny.read_bytes()[:100_000])
    (folder / "text.pth").write_text("not a checkpoint")
    content = torch.load(tiny, weights_only=False)
    content["model_state_dict"]["rnn.weight_hh_l0"][3, 4] = float("nan")
    torch.save(content, folder / "nan.pth")
    alone = folder / "alone"
    alone.mkdir()
    shutil.copy(tiny, alone / "tiny.pth")
    (folder / "unknown.yaml").write_text("final_tahn: true\n")
    (folder / "broken.yaml").write_text("features: [kosmos_text\n")
    return folder


def test_configure_and_activate_after_cleanup_move_it_again(bench):
    for _ in range(2):
        bench.drive()
        assert bench.state == "active"
        assert bench.transition("deactivate") and bench.state == "inactive"
        assert bench.transition("cleanup") and bench.state == "unconfigured"


def test_deactivate_does_not_wait_for_the_next_command(bench):
    bench.activate(command_rate=0.5, image_timeout=5.0, command_timeout=5.0)
    bench.camera = bench.photograph
    bench.instruct("go to the cup")

    def check():
        if bench.state == "inactive":
            bench.transition("activate")
            bench.instruct("go to the cup")
        bench.commands.clear()
        bench.until(lambda: bench.commands and bench.is_moving(), "a command", 20.0)
        bench.transition("deactivate")  # the next command that is due is two seconds away
        answered = time.monotonic()
        bench.until(lambda: not bench.is_moving(), "a zero")
        assert bench.commands[-1][0] < answered + 0.05

    bench.timed(check)


def test_nothing_follows_the_zero_of_deactivate(bench):
    bench.drive()
    assert bench.transition("deactivate")
    bench.until(lambda: not bench.is_moving(), "a zero")
    seen = len(bench.commands)
    assert not bench.happens(lambda: len(bench.commands) > seen, 0.5)
    assert bench.reason.startswith("INACTIVE:")


def test_a_deactivated_node_forgets_the_instruction(bench):
    bench.drive()
    assert bench.transition("deactivate")
    assert bench.transition("activate")
    bench.until_reason("NO_INSTRUCTION")


REFUSED = {
    "no checkpoint": ({"checkpoint": ""}, "checkpoint is empty"),
    "no such model in the package": ({"checkpoint": "builtin:none"}, "builtin:none: the package has "),
    "a checkpoint that is not there": ({"checkpoint": "/nowhere/model.pth"}, "does not exist"),
    "a truncated checkpoint": ({"checkpoint": "truncated.pth"}, "is incomplete"),
    "no checkpoint at all": ({"checkpoint": "text.pth"}, "is not a torch.save file"),
    "NaN among the weights": ({"checkpoint": "nan.pth"}, "rnn.weight_hh_l0 holds NaN"),
    "no processors": ({"checkpoint": "alone/tiny.pth"}, "no processors folder"),
    "processors that are not there": ({"processors": "/nowhere"}, "/nowhere"),
    "an unknown precision": ({"precision": "fp8"}, "precision: 'fp8' is not one of"),
    "an unknown engine": ({"engine": "warp"}, "engine: 'warp' is not one of"),
    "an unknown transport": ({"image_transport": "theora"}, "image_transport: 'theora' is not one of"),
    "an unknown device": ({"device": "tpu"}, "'tpu' is not one of"),
    "text for numbers": ({"max_velocity": "fast"}, "max_velocity: 'fast' is not a list of float"),
    "a number for text": ({"checkpoint": 7}, "checkpoint: 7 is not a str"),
    "a decelaration that speeds up": ({"max_decel": (1.5, 1.5, 3.0)}, "max_decel must be finite and negative"),
    "two limits for three axes": ({"max_velocity": (0.3, 0.8)}, "max_velocity needs three values"),
    "no rate": ({"command_rate": 0.0}, "command_rate must be above 0"),
    "a timeout that never comes": ({"image_timeout": float("inf")}, "image_timeout must be above 0"),
    "a PolicyConfig that is not there": ({"policy_config": "/nowhere.yaml"}, "/nowhere.yaml cannot be read"),
    "an unknown PolicyConfig setting": ({"policy_config": "unknown.yaml"}, "did you mean final_tanh"),
    "a PolicyConfig that is not YAML": ({"policy_config": "broken.yaml"}, "is not YAML"),
    "three axes for two outputs": (
        {"action_axes": ("linear.x", "linear.y", "angular.z")},
        "2 outputs but action_axes names 3",
    ),
    "an axis of no robot": ({"action_axes": ("linear.x", "linear.z")}, "must be different names of"),
}


@pytest.mark.parametrize(("parameters", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_configure_is_refused_with_the_reason_for(bench, files, parameters, reason):
    inside = {name: str(files / value) for name, value in parameters.items() if (files / str(value)).is_file()}
    assert not bench.configure(**parameters | inside)
    bench.until(lambda: reason in bench.reason, f"the reason {reason}")
    assert bench.reason.startswith("INACTIVE:") and "\n" not in bench.reason
    assert bench.state == "unconfigured"
    assert bench.configure(), "and with the right parameters it works"


def test_code_among_the_processors_never_runs(bench, bundle_with_code):
    bundle, marker = bundle_with_code
    assert not bench.configure(checkpoint=str(bundle))
    bench.until(lambda: "custom.py is code" in bench.reason or "auto_map" in bench.reason, "the reason")
    assert not marker.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_configure_is_refused_for_a_device_that_is_not_there(bench):
    assert not bench.configure(device="cuda")
    bench.until(lambda: "finds no CUDA device" in bench.reason, "the reason")


def test_an_impossible_transition_harms_nothing(bench):
    request = ChangeState.Request()
    request.transition.id = 3  # activate, before configure
    assert not bench.call("change_state", request).success
    assert "a transition was refused" in bench.process.log
    assert bench.state == "unconfigured"
    bench.drive()


def test_while_a_model_loads_all_else_answers(start, deep):
    bench = start(parameters=deep)
    bench.until(bench.clients["change_state"].service_is_ready, "the node", 60.0)
    request = ChangeState.Request()
    request.transition.id = 1  # configure
    loaded = bench.clients["change_state"].call_async(request)
    bench.until(lambda: "loading" in bench.process.log, "the load")
    assert bench.state == "configuring"
    answer = bench.set_parameters(image_timeout=0.4)
    assert not answer.successful and "a transition is under way" in answer.reason
    assert not bench.transition("configure")
    assert "a transition was refused: another is under way" in bench.process.log
    assert not loaded.done(), "all of this before the load had ended"
    bench.until(loaded.done, "the end of the load")
    assert loaded.result().success and bench.state == "inactive"


def test_a_parameter_that_would_have_no_effect_is_refused_with_the_reason(bench):
    assert bench.configure()
    answer = bench.set_parameters(command_rate=30.0)
    assert not answer.successful
    assert "command_rate takes effect at configure" in answer.reason
    assert bench.transition("cleanup")
    assert bench.set_parameters(command_rate=20.0).successful


def test_a_model_too_slow_for_command_timeout_is_told_with_the_value_to_set(bench):
    assert bench.configure(command_timeout=0.001, command_rate=1000.0, max_velocity=(0.3, 0.2, 0.8))
    bench.until(lambda: "set command_timeout to" in bench.process.log, "the warning")
    found = re.search(r"set command_timeout to ([\d.]+).*up to ([\d.]+) m blind", bench.process.log)
    timeout, metres = float(found[1]), float(found[2])
    assert 0.01 < timeout < 5.0
    assert metres == pytest.approx(0.3 * timeout, abs=0.006)


def test_a_model_fast_enough_for_command_timeout_is_not_warned_of(bench):
    before = bench.process.log.count("set command_timeout to")
    assert bench.configure(command_timeout=60.0)
    assert bench.process.log.count("set command_timeout to") == before
