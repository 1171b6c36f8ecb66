"""Runs camera or simulated robot, inference node and guard as real processes, and observes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.client import Client
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from simple_clip_lstm_ros.errors import SimpleClipLstmError
from simple_clip_lstm_ros.ros.conversions import to_seconds
from simple_clip_lstm_ros.ros.qos import LATCHED

NAMESPACE = "demo"
_START_TIMEOUT = 60.0  # s; importing torch takes its time on a small machine
_SERVICE_TIMEOUT = 60.0  # s
_RATE_WINDOW = 2.0  # s
_MODULES = {
    "velocity_guard": "simple_clip_lstm_ros.node.velocity_guard",
    "inference_node": "simple_clip_lstm_ros.node.inference_node",
    "sim_robot": "simple_clip_lstm_ros.harness.sim_robot",
    "photo_camera": "simple_clip_lstm_ros.harness.photo_camera",
}


class NodeHarness:
    """Context manager that runs all processes on this machine only: no real robot moves.

    `parameters` are those of the inference node, `guard` those of the guard, `camera` those of the camera (None: the
    caller publishes images), `robot` those of a simulated robot, which has its own camera. `threads` is the number of
    the model's threads (None: torch's default), `logs` a folder for the processes' logs. Raises SimpleClipLstmError if
    a process does not start or ends.
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
        # A namespace and no network: a base that subscribes to /cmd_vel must not move because of a demo.
        local = {"ROS_LOCALHOST_ONLY": "1"} if os.environ.get("ROS_DISTRO") == "humble" else _LOCAL
        os.environ.update(local)
        self._logs = logs
        environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        arguments = {
            "velocity_guard": _arguments(guard),
            "inference_node": [*_arguments(parameters), "-r", "cmd_vel:=cmd_vel_raw"],
        }
        if robot is not None:
            arguments["sim_robot"] = _arguments(robot)
        elif camera is not None:
            arguments["photo_camera"] = _arguments(camera)
        self._processes = {
            name: subprocess.Popen(
                [sys.executable, "-m", _MODULES[name], "--ros-args", "-r", f"__ns:=/{NAMESPACE}", *words],
                env=environment,
                stderr=self._log(name).open("w"),
            )
            for name, words in arguments.items()
        }
        rclpy.init()
        self.node = rclpy.create_node("harness", namespace=NAMESPACE)
        self._clients: dict[str, Client] = {}  # of `call_service`, by service
        self._lifecycle_client = self.node.create_client(ChangeState, "inference/change_state")
        self._instructions = self.node.create_publisher(String, "instruction", LATCHED)
        self._subscribe()

    def _subscribe(self) -> None:
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
        """Return the seconds of the last step as text; "" before the first."""
        return self.diagnostics.get("inference latency (s)", "")

    def rate(self, kind: str) -> float:
        """Return messages per second of `kind` ("command" or "action") over the last two seconds."""
        arrivals = self._arrivals[kind]
        while arrivals and arrivals[0] < time.monotonic() - _RATE_WINDOW:
            arrivals.popleft()
        return len(arrivals) / _RATE_WINDOW

    def image_age(self) -> float | None:
        """Return the age of the newest image's stamp in seconds; None before the first image."""
        if self.image is None:
            return None
        return to_seconds(self.node.get_clock().now().to_msg()) - to_seconds(self.image.header.stamp)

    def pid(self, name: str) -> int:
        """Return the process id of `inference_node`, `velocity_guard`, `photo_camera` or `sim_robot`."""
        return self._processes[name].pid

    def start(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Configure and activate the node, and call `on_wait` ten times a second until then.

        `start_time` is when this began (monotonic, s).
        """
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._lifecycle_client.service_is_ready():
            self.spin_for(0.1)
            if time.monotonic() > deadline:
                raise SimpleClipLstmError(f"the inference node did not appear within {_START_TIMEOUT:g} s")
        self.start_time = time.monotonic()
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            future = self._lifecycle_client.call_async(ChangeState.Request(transition=Transition(id=transition)))
            while not future.done():
                self.spin_for(0.1)
                on_wait()
            if not future.result().success:
                raise SimpleClipLstmError(f"the inference node did not start: {self.reason}")

    def set_instruction(self, text: str) -> None:
        self._instructions.publish(String(data=text))

    def report(self) -> dict[str, Any]:
        """Return the node's timing report of the drive (see control/timing.py)."""
        return json.loads(self.call_trigger("inference/report"))

    def call_trigger(self, service: str) -> str:
        """Call a Trigger service and return its message. Raise SimpleClipLstmError if it fails."""
        response = self.call_service(Trigger, service, Trigger.Request())
        if not response.success:
            raise SimpleClipLstmError(f"{service}: {response.message}")
        return response.message

    def call_service(self, service_type: Any, service: str, request: Any) -> Any:
        """Call a service and return its response. Raise SimpleClipLstmError if none comes within 60 s."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(service_type, service)
        client = self._clients[service]
        # A request that is sent before the service is discovered would be lost.
        self.spin_for(_SERVICE_TIMEOUT, client.service_is_ready)
        future = client.call_async(request)
        if not self.spin_for(_SERVICE_TIMEOUT, future.done):
            raise SimpleClipLstmError(f"{service} did not answer within {_SERVICE_TIMEOUT:g} s")
        return future.result()

    def spin_for(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Spin for `seconds` or until `until` is true; return its last value.

        Raise SimpleClipLstmError if a process has ended.
        """
        end = time.monotonic() + seconds
        while not until() and (remaining := end - time.monotonic()) > 0:
            rclpy.spin_once(self.node, timeout_sec=remaining)
        for name, process in self._processes.items():
            if process.poll() is not None:
                last_line = (self._log(name).read_text().strip().splitlines() or ["it said nothing"])[-1]
                raise SimpleClipLstmError(f"{name} ended with exit code {process.returncode}: {last_line}")
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
