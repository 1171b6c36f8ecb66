"""The robot of the world, as a real process on real topics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import rclpy
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from ros_domain import LOCAL, own_domain
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from simple_clip_lstm_ros.ros.conversions import to_seconds
from simple_clip_lstm_ros.ros.qos import LATCHED

pytestmark = pytest.mark.ros


class Watcher:
    """A process of the robot, and a node that hears and commands it."""

    def __init__(self, domain: int, log: Path, parameters: dict[str, Any]) -> None:
        given = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
        module = [sys.executable, "-m", "simple_clip_lstm_ros.harness.sim_robot"]
        environment = os.environ | LOCAL | {"ROS_DOMAIN_ID": str(domain)}
        self.process = subprocess.Popen(
            ["timeout", "-s", "KILL", "60", *module, "--ros-args", *given], env=environment, stderr=log.open("w")
        )
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("watcher", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._commands = self._node.create_publisher(Twist, "cmd_vel", 1)
        self._resets = self._node.create_client(Trigger, "sim_robot/reset")
        self.images: list[Image] = []
        self.odometry: list[Odometry] = []
        self.clocks: list[float] = []
        self.outcome: dict[str, Any] = {}
        subscribe = self._node.create_subscription
        subscribe(Image, "image_raw", self.images.append, qos_profile_sensor_data)
        subscribe(Odometry, "odom", self.odometry.append, 10)
        subscribe(Clock, "/clock", lambda m: self.clocks.append(to_seconds(m.clock)), 10)
        subscribe(String, "sim_robot/outcome", lambda m: self.outcome.update(json.loads(m.data)), LATCHED)

    def until(
        self, is_so: Callable[[], bool], what: str, *, command: float | None = None, seconds: float = 15.0
    ) -> None:
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, f"no {what}"
            if command is not None:
                twist = Twist()
                twist.linear.x = command
                self._commands.publish(twist)
            self._executor.spin_once(timeout_sec=0.05)

    def x(self) -> float:
        return self.odometry[-1].pose.pose.position.x

    def reset(self) -> Trigger.Response:
        self.until(self._resets.service_is_ready, "service")
        future = self._resets.call_async(Trigger.Request())
        self.until(future.done, "answer")
        return future.result()

    def close(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)
        return self.process.wait(timeout=10)


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Watcher]]:
    for name, value in LOCAL.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as cleanup:
        watchers: list[Watcher] = []

        def start(**parameters: Any) -> Watcher:
            watchers.append(Watcher(cleanup.enter_context(own_domain()), tmp_path / "log", parameters))
            return watchers[-1]

        yield start
        for watcher in watchers:
            watcher.close()


def test_it_shows_the_world_and_obeys(watch: Callable[..., Watcher]) -> None:
    robot = watch(scenario="2box_vert_right", seed=3)
    robot.until(lambda: len(robot.images) > 2 and len(robot.odometry) > 2, "images and odometry")
    image = robot.images[-1]
    assert (image.height, image.width, image.encoding) == (120, 160, "rgb8") and len(set(image.data)) > 20
    assert robot.x() == 0.0 and not robot.clocks
    robot.until(lambda: robot.x() > 0.3, "motion", command=0.4)
    # No further command: the base stops by itself.
    robot.until(lambda: robot.odometry[-1].twist.twist.linear.x == 0.0, "stop")
    still = robot.x()
    count = len(robot.odometry)
    robot.until(lambda: len(robot.odometry) > count + 20, "odometry")
    assert robot.x() == still


def test_it_tells_what_becomes_of_the_drive_and_begins_again(watch: Callable[..., Watcher]) -> None:
    robot = watch(scenario="1box_hori_left", seed=1)
    robot.until(lambda: bool(robot.outcome), "outcome")
    assert not robot.outcome["contact"] and not robot.outcome["ended"]
    robot.until(lambda: robot.outcome["contact"], "contact with the box ahead", command=0.5)
    assert robot.outcome["ended"] and not robot.outcome["success"]
    answer = robot.reset()
    assert answer.success and answer.message == "1box_hori_left, seed 1"
    robot.until(lambda: not robot.outcome["contact"] and robot.x() == 0.0, "a new beginning")


def test_its_clock_runs_as_fast_as_asked_and_never_back(watch: Callable[..., Watcher]) -> None:
    robot = watch(publish_clock="true", speed=4.0)
    robot.until(lambda: len(robot.clocks) > 10, "clock")
    begin, since = time.monotonic(), robot.clocks[-1]
    robot.reset()
    robot.until(lambda: time.monotonic() - begin > 2.0, "end of two seconds")
    assert robot.clocks == sorted(robot.clocks)
    assert 4.0 < robot.clocks[-1] - since < 9.0
    assert to_seconds(robot.images[-1].header.stamp) == pytest.approx(robot.clocks[-1], abs=0.2)


@pytest.mark.parametrize(
    "parameters, told",
    [
        ({"scenario": "3box"}, "scenario: '3box' is not one of 1box_vert_left"),
        ({"base": "wheels"}, "base: 'wheels' is not one of differential, omnidirectional"),
        ({"seed": -1}, "seed must be zero or positive"),
        ({"speed": 2.0}, "a speed other than 1 needs publish_clock"),
        ({"image_rate": 0.0}, "must be positive"),
    ],
)
def test_parameters_that_make_no_world_are_refused_in_one_line(
    watch: Callable[..., Watcher], tmp_path: Path, parameters: dict[str, Any], told: str
) -> None:
    robot = watch(**parameters)
    assert robot.process.wait(timeout=30) == 1
    assert told in (tmp_path / "log").read_text()
