"""The whole way over real DDS: images and an instruction in, velocities out, and what stops them."""

from __future__ import annotations

import itertools
import time

import pytest
from inference_bench import LATCHED
from std_msgs.msg import String

pytestmark = pytest.mark.ros
PERIOD = 0.05


def speeds(bench, since):
    return [velocity for (at, _), velocity in zip(list(bench.commands), bench.velocities, strict=False) if at > since]


@pytest.mark.serial
def test_images_and_an_instruction_move_the_robot(bench):
    bench.drive(max_velocity=(0.2, 0.3, 0.5), min_velocity=(-0.2, -0.3, -0.5))

    def check():
        begin = time.monotonic()
        bench.until(lambda: time.monotonic() - begin > 2.0, "two seconds")
        driven = speeds(bench, begin)
        assert 38 <= len(driven) <= 42, "20 Hz"
        assert len(set(driven)) > 10, "each image has its own action"

    bench.timed(check)
    assert bench.reason == "MOVING: following the instruction"
    assert all(any(velocity[axis] for velocity in bench.velocities) for axis in (0, 2))
    assert not any(y for _, y, _ in bench.velocities), "the checkpoint has no such axis"
    assert all(abs(x) <= 0.2 and abs(yaw) <= 0.5 for x, _, yaw in bench.velocities)
    for before, after in itertools.pairwise(bench.velocities):
        assert abs(after[0] - before[0]) <= 1.5 * PERIOD * 1.001, "max_accel and max_decel"
        assert abs(after[2] - before[2]) <= 3.0 * PERIOD * 1.001


def test_without_an_instruction_it_stands(bench):
    bench.activate()
    bench.camera = bench.photograph
    bench.until_reason("NO_INSTRUCTION")
    bench.until(lambda: int(bench.diagnostics.get("images", 0)) > 5, "images")
    assert not bench.has_moved()


def test_without_images_it_stands(bench):
    bench.activate()
    bench.instruct("go to the cup")
    bench.until_reason("NO_IMAGE")
    bench.until(lambda: len(bench.commands) > 10, "commands")
    assert not bench.has_moved()


def test_untrained_weights_do_not_move_it_unless_allowed(bench):
    bench.activate(allow_untrained=False)
    bench.camera = bench.photograph
    bench.instruct("go to the cup")
    bench.until_reason("UNTRAINED")
    bench.until(lambda: int(bench.diagnostics.get("actions", 0)) > 5, "actions")
    assert not bench.has_moved()
    assert "untrained" in bench.process.log


@pytest.mark.parametrize(
    ("image_timeout", "command_timeout", "reason"), [(0.3, 2.0, "IMAGE_STALE"), (2.0, 0.3, "COMMAND_STALE")]
)
def test_it_stops_at_once_when_images_stop(bench, image_timeout, command_timeout, reason):
    bench.activate(image_timeout=image_timeout, command_timeout=command_timeout)
    bench.instruct("go to the cup")

    def check():
        bench.camera = bench.photograph
        bench.until_reason("MOVING")
        bench.camera = None
        bench.until_reason(reason)
        assert 0.25 < bench.stop() - bench.last_image < 0.3 + 0.1 + 0.03

    bench.timed(check)


def test_an_instruction_latched_before_activation_arrives(bench):
    publisher = bench.probe.create_publisher(String, "instruction", LATCHED)
    publisher.publish(String(data="go to the cup"))
    bench.camera = bench.photograph
    try:
        bench.activate()
        bench.until_reason("MOVING")
    finally:
        bench.probe.destroy_publisher(publisher)


def test_an_instruction_given_as_parameter_is_followed_from_activation_on(bench):
    bench.camera = bench.photograph
    bench.activate(instruction="go to the cup")
    bench.until_reason("MOVING")
    bench.until(lambda: bench.diagnostics.get("instruction") == "go to the cup", "diagnostics that name it")


def test_a_blank_instruction_is_a_ramped_stop(bench):
    bench.drive(max_decel=(-0.2, -0.2, -0.4))
    bench.until(lambda: abs(bench.velocities[-1][0]) > 0.1, "some speed")
    bench.instruct("  ")
    bench.until_reason("STOPPING")
    begin = time.monotonic()
    bench.until_reason("NO_INSTRUCTION")
    ramp = [abs(x) for x, _, _ in speeds(bench, begin)]
    assert len(ramp) > 5
    assert all(0.0 <= before - after <= 0.2 * PERIOD * 1.001 for before, after in itertools.pairwise(ramp))
    assert ramp[-1] == 0.0


@pytest.mark.parametrize("text", ["go <image> there", "<grounding> go", "go to <patch_index_0001>"])
def test_control_tokens_in_an_instruction_stop_the_robot_until_a_good_one_comes(bench, text):
    bench.drive()
    bench.instruct(text)
    bench.until_reason("INSTRUCTION_REFUSED")
    assert "control token" in bench.reason
    bench.stop()
    bench.instruct("go to the cup")
    bench.until_reason("MOVING")


def test_an_instruction_that_no_encoder_can_take_stops_the_robot_until_a_good_one_comes(bench):
    bench.drive()
    bench.instruct("far " * 5000)
    bench.until_reason("INSTRUCTION_REFUSED")
    assert "too long" in bench.reason
    bench.stop()
    bench.until(lambda: bench.level == b"\x01", "a warning in diagnostics")
    bench.instruct("go to the cup")
    bench.until_reason("MOVING")
