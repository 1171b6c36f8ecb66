"""A stage for the whole system: camera or robot, inference node and guard as real processes, and an audience."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.client import Client
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from simple_clip_lstm_ros.errors import SimpleClipLstmError
from simple_clip_lstm_ros.ros.conversions import to_seconds
from simple_clip_lstm_ros.ros.qos import LATCHED
from simple_clip_lstm_ros.sim.layout import Pose
from simple_clip_lstm_ros.sim.world import Outcome

NAMESPACE = "demo"
_START_TIMEOUT = 60.0  # s; importing torch takes its time on a small machine
_ANSWER_TIMEOUT = 60.0  # s
_RATE_WINDOW = 2.0  # s


class NodeHarness:
    """`with Stage(...) as stage:` starts everything on this machine alone; nothing reaches a robot.

    `parameters` are the node's, `guard` the guard's, `camera` those of the camera (None: somebody else shows images),
    `robot` those of a robot in a world, which brings a camera of its own; `threads` those of the model (None: torch's
    choice), `logs` a folder for the processes' logs. Raises SimpleClipLstmError when the node does not start, or dies.
    """

    def __init__(
        self,
        parameters: Mapping[str, object],
        *,
        threads: int | None,
        logs: Path,
        camera: Mapping[str, object] | None = MappingProxyType({}),
        robot: Mapping[str, object] | None = None,
        guard: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        # In a namespace and without the network: a base that listens to /cmd_vel must not move because of a demo.
        local = {"ROS_LOCALHOST_ONLY": "1"} if os.environ.get("ROS_DISTRO") == "humble" else _LOCAL
        os.environ.update(local)
        self._logs = logs
        environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        given = {
            "velocity_guard": _arguments(guard),
            "inference_node": [*_arguments(parameters), "-r", "cmd_vel:=cmd_vel_raw"],
        }
        if robot is not None:
            given["sim_robot"] = _arguments(robot)
        elif camera is not None:
            given["photo_camera"] = _arguments(camera)
        self._processes = {
            name: subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.{name}", "--ros-args", "-r", f"__ns:=/{NAMESPACE}", *arguments],
                env=environment,
                stderr=self._log(name).open("w"),
            )
            for name, arguments in given.items()
        }
        rclpy.init()
        self.node = rclpy.create_node("audience", namespace=NAMESPACE)
        self._clients: dict[str, Client] = {}  # of `call`
        self._client = self.node.create_client(ChangeState, "inference/change_state")
        self._instructions = self.node.create_publisher(String, "instruction", LATCHED)
        self._listen()

    def _listen(self) -> None:
        self.image: Image | None = None
        self.action: TwistStamped | None = None
        self.command: Twist | None = None
        self.reason = "waiting for the node"
        self.diagnostics: dict[str, str] = {}  # of the node
        self._arrivals: dict[str, deque[float]] = {"command": deque(), "action": deque()}
        subscribe = self.node.create_subscription
        subscribe(Image, "image_raw", lambda m: setattr(self, "image", m), qos_profile_sensor_data)
        subscribe(TwistStamped, "inference/action", self._on_action, 1)
        subscribe(Twist, "cmd_vel", self._on_command, 1)
        subscribe(String, "inference/reason", lambda m: setattr(self, "reason", m.data), LATCHED)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_action(self, message: TwistStamped) -> None:
        self.action = message
        self._arrivals["action"].append(time.monotonic())

    def _on_command(self, message: Twist) -> None:
        self.command = message
        self._arrivals["command"].append(time.monotonic())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{NAMESPACE}/inference: inference":
                self.diagnostics = {pair.key: pair.value for pair in status.values}

    @property
    def latency(self) -> str:
        """Seconds of the last step; empty before the first."""
        return self.diagnostics.get("inference latency (s)", "")

    def rate(self, what: str) -> float:
        """Messages a second of `command` or `action`, over the last two seconds."""
        arrivals = self._arrivals[what]
        while arrivals and arrivals[0] < time.monotonic() - _RATE_WINDOW:
            arrivals.popleft()
        return len(arrivals) / _RATE_WINDOW

    def image_age(self) -> float | None:
        """Seconds since the newest image was taken."""
        if self.image is None:
            return None
        return to_seconds(self.node.get_clock().now().to_msg()) - to_seconds(self.image.header.stamp)

    def pid(self, name: str) -> int:
        """Process id of `inference_node`, `velocity_guard`, `photo_camera` or `sim_robot`."""
        return self._processes[name].pid

    def start(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Configure and activate the node, begun at `begun`; `on_wait` is called ten times a second meanwhile."""
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._client.service_is_ready():
            self.spin_for(0.1)
            if time.monotonic() > deadline:
                raise SimpleClipLstmError(f"the inference node did not appear within {_START_TIMEOUT:g} s")
        self.begun = time.monotonic()
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            future = self._client.call_async(ChangeState.Request(transition=Transition(id=transition)))
            while not future.done():
                self.spin_for(0.1)
                on_wait()
            if not future.result().success:
                raise SimpleClipLstmError(f"the inference node did not start: {self.reason}")

    def instruct(self, text: str) -> None:
        self._instructions.publish(String(data=text))

    def report(self) -> dict[str, Any]:
        """What the node reports of the drive: see control/timing.py."""
        return json.loads(self.ask("inference/report"))

    def ask(self, service: str) -> str:
        """What a service that takes no arguments answers. Raises SimpleClipLstmError where it refuses."""
        answer = self.call(Trigger, service, Trigger.Request())
        if not answer.success:
            raise SimpleClipLstmError(f"{service}: {answer.message}")
        return answer.message

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """The response of a service of this kind. Raises SimpleClipLstmError where none comes."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        client = self._clients[service]
        # A request before the service is known here would be lost.
        self.spin_for(_ANSWER_TIMEOUT, client.service_is_ready)
        future = client.call_async(request)
        if not self.spin_for(_ANSWER_TIMEOUT, future.done):
            raise SimpleClipLstmError(f"{service} did not answer within {_ANSWER_TIMEOUT:g} s")
        return future.result()

    def spin_for(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Listen for this long, or until something is so; returns whether it is."""
        end = time.monotonic() + seconds
        while not until() and (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self.node, timeout_sec=left)
        for name, process in self._processes.items():
            if process.poll() is not None:
                last = (self._log(name).read_text().strip().splitlines() or ["it said nothing"])[-1]
                raise SimpleClipLstmError(f"{name} ended with exit code {process.returncode}: {last}")
        return until()

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def __enter__(self) -> NodeHarness:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
        self.node.destroy_node()
        rclpy.shutdown()


def _arguments(parameters: Mapping[str, object]) -> list[str]:
    return [argument for name, value in parameters.items() for argument in ("-p", f"{name}:={value}")]


_LOCAL = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


_TIMEOUT = 10.0  # s


class DriveObserver:
    """`path` has the poses since `begin`, `outcome` what the robot last told of the drive: None while it is nothing."""

    def __init__(self, stage: NodeHarness) -> None:
        self._stage = stage
        self.path: list[Pose] = []
        self.outcome: Outcome | None = None
        stage.node.create_subscription(Odometry, "odom", self._on_odometry, 10)
        stage.node.create_subscription(String, "sim_robot/outcome", self._on_outcome, LATCHED)

    def begin(self) -> None:
        """The world anew: the robot stands at its start, and its time counts from now."""
        self._stage.ask("sim_robot/reset")
        self.path, self.outcome = [], None
        if not self._stage.spin_for(_TIMEOUT, lambda: bool(self.path)):
            raise SimpleClipLstmError(f"the robot told nothing of where it is within {_TIMEOUT:g} s")

    def _on_odometry(self, message: Odometry) -> None:
        pose = message.pose.pose
        yaw = 2.0 * math.atan2(pose.orientation.z, pose.orientation.w)
        self.path.append(Pose(pose.position.x, pose.position.y, math.remainder(yaw, math.tau)))

    def _on_outcome(self, message: String) -> None:
        told = json.loads(message.data)
        self.outcome = Outcome(**{each.name: told[each.name] for each in fields(Outcome)})
