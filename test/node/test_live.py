"""What may change while the robot drives, and what the node tells of a drive."""

from __future__ import annotations

import json
import re

import pytest
from std_srvs.srv import Trigger

pytestmark = pytest.mark.ros


def report(bench):
    answer = bench.call("report", Trigger.Request())
    assert answer.success
    return json.loads(answer.message)


def test_a_limit_changes_at_once(bench):
    bench.drive(action_scale=(100.0, 100.0))
    bench.until(lambda: max(map(abs, bench.velocities[-1])) > 0.25, "speed")
    assert bench.set_parameters(max_velocity=[0.1, 0.1, 0.1], min_velocity=[-0.1, -0.1, -0.1]).successful
    seen = len(bench.commands)
    bench.until(lambda: len(bench.commands) > seen + 10, "commands")
    # One command may have been on its way while the answer was.
    assert all(abs(value) <= 0.1 for velocity in bench.velocities[seen + 1 :] for value in velocity)
    assert bench.is_moving()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_velocity": [-0.1, 0.3, 0.8]}, "max_velocity must be finite and zero or positive"),
        ({"max_decel": [1.0, 1.0, 1.0]}, "max_decel must be finite and negative"),
        ({"image_timeout": 0.0}, "image_timeout must be above 0"),
        ({"command_timeout": 0.01}, "command_timeout must be at least the period of command_rate, 0.05 s"),
        ({"command_timeout": "soon"}, "command_timeout: 'soon' is not a float"),
        ({"instruction": "go to <image>"}, "instruction: "),
        ({"image_topic": "elsewhere"}, "image_topic takes effect at configure"),
    ],
)
def test_a_change_that_is_not_allowed_is_refused_and_the_robot_drives_on(bench, change, reason):
    bench.drive()
    answer = bench.set_parameters(**change)
    assert not answer.successful and reason in answer.reason
    bench.until(bench.is_moving, "motion")
    assert bench.reason.startswith("MOVING:")


def test_a_parameter_is_not_deleted(bench):
    """Its limit would be the default then, and nobody would know."""
    bench.drive()
    answer = bench.set_parameters(max_velocity=None)
    assert not answer.successful and "max_velocity cannot be deleted" in answer.reason


def test_a_timeout_changes_at_once(bench):
    bench.drive()
    assert bench.set_parameters(image_timeout=0.051).successful
    bench.until_reason("IMAGE_STALE")
    assert bench.set_parameters(image_timeout=0.5).successful
    bench.until_reason("MOVING")


def test_an_instruction_may_be_a_parameter(bench):
    bench.activate()
    bench.camera = bench.photograph
    bench.until_reason("NO_INSTRUCTION")
    assert bench.set_parameters(instruction="go to the door").successful
    bench.until_reason("MOVING")
    bench.until(lambda: bench.diagnostics.get("instruction") == "go to the door", "diagnostics that name it")
    assert bench.set_parameters(instruction="").successful
    bench.until_reason("NO_INSTRUCTION")


def test_a_stop_phrase_stops_the_robot_by_topic_and_by_parameter(bench):
    bench.drive()
    bench.instruct("Please stop now!")
    bench.until_reason("STOP_PHRASE")
    bench.until(lambda: not bench.is_moving(), "a zero")
    assert bench.set_parameters(instruction="go to the door").successful
    bench.until_reason("MOVING")
    assert bench.set_parameters(instruction="멈춰").successful
    bench.until_reason("STOP_PHRASE")


def test_a_drive_is_reported_while_it_lasts_and_after(bench):
    bench.drive()
    bench.until(lambda: report(bench)["seconds"] > 1.0, "a second")
    during = report(bench)
    assert during["commands"]["target"] == 20.0 and during["commands"]["rate"] == pytest.approx(20.0, rel=0.2)
    assert during["counts"]["actions"] > 0 and during["latency"]["p50"] > 0.0 and during["worst"]
    bench.camera = None
    bench.until_reason("IMAGE_STALE")
    assert bench.transition("deactivate")
    after = report(bench)
    assert after["reasons"]["IMAGE_STALE"]["times"] == 1 and after["reasons"]["MOVING"]["seconds"] > 0.5
    told = bench.process.log
    assert re.search(r"drove for [\d.]+ s\n  inference [\d.]+ Hz", told) and "reasons: " in told


def test_an_unconfigured_node_has_nothing_to_report(bench):
    assert not bench.call("report", Trigger.Request()).success


def test_a_camera_that_hangs_on_its_last_picture_is_a_warning_and_no_stop(bench):
    bench.drive()
    picture = bench.photograph()

    def hanging():
        picture.header.stamp = bench.now()
        return picture

    bench.camera = hanging
    bench.until(lambda: float(bench.diagnostics["same picture for (s)"]) > 2.0, "the figure")
    assert "the same image" in bench.process.log and bench.level == b"\x01"
    bench.until(bench.is_moving, "motion")
    bench.camera = bench.photograph
    bench.until(lambda: float(bench.diagnostics["same picture for (s)"]) == 0.0, "another picture")


def test_with_simulated_time_that_never_comes_it_says_so(start):
    bench = start(parameters={"use_sim_time": True})
    bench.activate()
    bench.camera = bench.photograph
    bench.instruct("go to the cup")
    bench.until_reason("CLOCK_STOPPED")
    assert not bench.has_moved()
