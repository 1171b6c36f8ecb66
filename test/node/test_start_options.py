"""One node on one of several robots: namespace, remapping, parameters from a file, stamped velocities, other axes."""

from __future__ import annotations

import itertools

import pytest
from geometry_msgs.msg import TwistStamped

pytestmark = pytest.mark.ros

# Whole numbers where decimals are meant, as people write them.
PARAMETERS = """
/**:
  ros__parameters:
    command_rate: 10
    image_timeout: 1
    max_velocity: [1, 1, 1]
    min_velocity: [-1, -1, -1]
    enable_stamped_cmd_vel: true
    frame_id: robot1/base_link
    action_axes: [linear.x, linear.y]
    action_scale: [0.5, 0.25]
"""


@pytest.fixture(scope="module")
def robot1(start, tmp_path_factory):
    """A moving robot."""
    file = tmp_path_factory.mktemp("parameters") / "robot1.yaml"
    file.write_text(PARAMETERS)
    options = ("-r", "__ns:=/robot1", "-r", "cmd_vel:=base/cmd_vel", "--params-file", str(file))
    bench = start(*options, namespace="/robot1", command_topic="base/cmd_vel", command_type=TwistStamped)
    bench.drive()
    bench.until(lambda: len(bench.commands) > 25, "commands")
    return bench


def test_the_namespace_moves_all_topics_and_services(robot1):
    names = {name for name, _ in robot1.probe.get_topic_names_and_types()}
    names |= {name for name, _ in robot1.probe.get_service_names_and_types()}
    ours = {"image_raw", "instruction", "inference/action", "inference/reason", "inference/overlay"}
    ours |= {"inference/enable", "inference/reset", "inference/change_state"}
    assert {f"/robot1/{name}" for name in ours} <= names
    assert not any(name.startswith(("/inference", "/image", "/instruction", "/cmd_vel")) for name in names)
    assert robot1.diagnostics["name"] == "robot1/inference: inference"


def test_remapping_moves_the_velocities(robot1):
    assert robot1.has_moved()
    assert robot1.probe.count_publishers("/robot1/base/cmd_vel") == 1
    assert robot1.probe.count_publishers("/robot1/cmd_vel") == 0


@pytest.mark.serial
def test_the_rate_is_that_of_the_file(robot1):
    def check():
        seen = len(robot1.commands)
        robot1.until(lambda: len(robot1.commands) > seen + 10, "commands")
        (first, _), (last, _) = robot1.commands[seen], robot1.commands[seen + 10]
        assert last - first == pytest.approx(1.0, abs=0.05)

    robot1.timed(check)


def test_velocities_are_stamped_with_the_time_of_the_command(robot1):
    stamps = [message.header.stamp.sec + message.header.stamp.nanosec * 1e-9 for _, message in robot1.commands]
    assert all(0.0 < after - before < 0.5 for before, after in itertools.pairwise(stamps))
    assert {message.header.frame_id for _, message in robot1.commands} == {"robot1/base_link"}


def test_the_outputs_go_to_the_axes_named(robot1):
    assert all(any(velocity[axis] for velocity in robot1.velocities) for axis in (0, 1))
    assert not any(yaw for _, _, yaw in robot1.velocities)


def test_an_action_is_told_before_limits_and_with_the_stamp_of_its_image(robot1):
    robot1.camera = None
    image = robot1.photograph()
    robot1.until(lambda: robot1.step(image), "the action")
    told = next(action for action in robot1.actions if action.header.stamp == image.header.stamp)
    assert told.header.frame_id == "robot1/base_link"
    expected = f"{told.twist.linear.x:.3f} {told.twist.linear.y:.3f}"
    robot1.until(lambda: robot1.diagnostics["action"] == expected, "that action in diagnostics")
