"""A small world with a dashboard beside it, for the tests in a real browser."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest
from dashboard_bench import free_port, spun
from geometry_msgs.msg import Twist
from process_groups import kill_group
from ros_domain import LOCAL, own_domain
from std_msgs.msg import String
from std_srvs.srv import Trigger

from simple_clip_lstm_ros.harness.node_harness import NAMESPACE, NodeHarness
from simple_clip_lstm_ros.sim.mobile_base import DIFFERENTIAL

ROOT = Path(__file__).parents[2]


class World:
    """A Stage with a dashboard beside it, and somebody in a thread of their own who notes every command."""

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        domain = cleanup.enter_context(own_domain())
        patch = cleanup.enter_context(pytest.MonkeyPatch.context())
        for name, value in (LOCAL | {"ROS_DOMAIN_ID": str(domain)}).items():
            patch.setenv(name, value)
        limits = {name: list(value) for name, value in asdict(DIFFERENTIAL).items()}
        node = {**limits, "checkpoint": ROOT / "simple_clip_lstm_ros" / "models" / "tiny", "device": "cpu"}
        robot = {"scenario": "1box_hori_left", "seed": 1000003}
        self.stage = cleanup.enter_context(NodeHarness(node, guard=limits, robot=robot, threads=1, logs=folder))
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}/"
        self._cleanup = cleanup
        self.dashboard = self.start_dashboard()
        self.commands: list[tuple[float, bool]] = []  # when, in seconds of the wall clock, and whether it moves
        self.instructions: list[str] = []
        self._listen(cleanup)
        self.stage.start()

    def start_dashboard(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main", "dashboard", "--namespace", NAMESPACE]
        dashboard = subprocess.Popen(
            ["timeout", "-s", "KILL", "300", *command, "--port", str(self._port)], stdout=subprocess.PIPE, text=True
        )
        self._cleanup.callback(kill_group, dashboard)
        assert dashboard.stdout and dashboard.stdout.readline() == f"open {self.address}\n"
        return dashboard

    def _listen(self, cleanup: ExitStack) -> None:
        node = spun(cleanup, "witness", NAMESPACE)
        node.create_subscription(Twist, "cmd_vel", self._on_command, 10)
        node.create_subscription(String, "instruction", lambda m: self.instructions.append(m.data), 10)
        self._resets = node.create_client(Trigger, "sim_robot/reset")

    def _on_command(self, message: Twist) -> None:
        self.commands.append((time.time(), bool(message.linear.x or message.angular.z)))

    def is_moving(self) -> bool:
        return self.commands[-1][1] and self.commands[-1][0] > time.time() - 0.3

    def reset(self) -> None:
        """The robot at its start."""
        until(self._resets.service_is_ready, "the robot")
        answer = self._resets.call_async(Trigger.Request())
        until(answer.done, "the robot's answer")


def until(so: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, f"{what} did not come within {seconds:g} s"
        time.sleep(0.02)
