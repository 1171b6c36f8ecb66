"""A bench for the inference node: the node as a process of its own, and a probe that is its robot, camera and user."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from warm_python import WarmPython

from simple_clip_lstm_ros.node.inference_parameters import InferenceParameters
from simple_clip_lstm_ros.policy.sample_images import sample_crops
from simple_clip_lstm_ros.ros.camera_topic import to_image

LATCHED = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TRANSITIONS = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4, "shutdown": 7}
SERVICES = {"change_state": ChangeState, "get_state": GetState, "set_parameters": SetParameters}
SERVICES |= {"enable": SetBool, "reset": Trigger, "report": Trigger}
# The last three as the tiny checkpoint says, for a parameter once set cannot be unset.
DEFAULTS = {item.name: item.default for item in fields(InferenceParameters) if item.default != ()}
DEFAULTS |= {"action_axes": ("linear.x", "angular.z"), "action_scale": (1.0, 1.0), "action_offset": (0.0, 0.0)}
STALL = 0.03  # s; a pause of the probe itself above which a check of times says nothing about the node


class NodeProcess:
    """`python -m simple_clip_lstm_ros.node.inference_node`, killed after five minutes whatever happens."""

    def __init__(self, python: WarmPython, log: Path, domain: int, arguments: tuple[str, ...]) -> None:
        self._log = log
        words = ["-m", "simple_clip_lstm_ros.node.inference_node", "--ros-args", *arguments]
        environment = os.environ | {"ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"}
        with log.open("w") as stream:
            places = {"cwd": Path(__file__).parents[2], "env": environment, "stderr": stream}
            self._process = python.start(words, stdin=subprocess.PIPE, **places)
        # Libraries may ask on stdin whether to run code: a node must not even where somebody says yes.
        with self._process.stdin as answers:
            answers.write(b"y\n" * 9)

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self, *signals: signal.Signals) -> int:
        """Send signals to the node, unless it has ended already, and return its exit code."""
        for number in signals:
            self._process.send_signal(number)
        return self._process.wait(10.0)


class Bench:
    """A node process and a probe beside it. Everything that the node says is recorded, commands with their arrival."""

    def __init__(
        self,
        python: WarmPython,
        log: Path,
        domain: int,
        parameters: dict[str, Any],
        arguments: tuple[str, ...] = (),
        *,
        namespace: str = "",
        command_topic: str = "cmd_vel",
        command_type: type = Twist,
    ) -> None:
        given = [argument for name, value in parameters.items() for argument in ("-p", f"{name}:={value}")]
        self.process = NodeProcess(python, log, domain, (*given, *arguments))
        self._given = DEFAULTS | parameters
        self._values = dict(self._given)
        self._context = rclpy.Context()
        self._context.init(domain_id=domain)
        self.probe = rclpy.create_node(f"probe_{domain}", context=self._context, namespace=namespace)
        self._give()
        self._listen(command_topic, command_type)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.probe)
        self._spinner = threading.Thread(target=self._executor.spin)
        self._spinner.start()

    def close(self) -> None:
        """Safe to call again."""
        if self._context.ok():
            self._executor.shutdown()
            self._spinner.join()
            self.probe.destroy_node()
            self._context.shutdown()
        self.process.end(signal.SIGKILL)

    # Images and instructions.

    def _give(self) -> None:
        # Asked for an image ten times a second; one that publishes by itself gives None.
        self.camera: Callable[[], Image | CompressedImage | None] | None = None
        self.last_image = 0.0
        self._frames = itertools.cycle(list(sample_crops(16, size=(120, 160))))
        create = self.probe.create_publisher
        self._images = create(Image, "image_raw", qos_profile_sensor_data)
        self._compressed = create(CompressedImage, "image_raw/compressed", qos_profile_sensor_data)
        self.instructions = create(String, "instruction", 10)
        self.probe.create_timer(0.1, self._on_image_due)

    def _on_image_due(self) -> None:
        image = self.camera and self.camera()
        if image:
            self.show(image)

    def now(self, age: float = 0.0) -> Time:
        return (self.probe.get_clock().now() - Duration(nanoseconds=int(age * 1e9))).to_msg()

    def photograph(self, age: float = 0.0) -> Image:
        """The next one, taken `age` seconds ago."""
        return to_image(next(self._frames), self.now(age), "camera")

    def show(self, image: Image | CompressedImage) -> None:
        self.last_image = time.monotonic()
        (self._images if isinstance(image, Image) else self._compressed).publish(image)

    def instruct(self, text: str) -> None:
        self.until(lambda: self.instructions.get_subscription_count() > 0, "a subscription of the instruction")
        self.instructions.publish(String(data=text))

    def told(self, text: str) -> None:
        """Instruct, and wait until it is known."""
        self.instruct(text)
        self.until(lambda: self.diagnostics.get("instruction") == text, "the instruction")

    def step(self, image: Image | None = None, *, age: float = 0.0) -> dict[str, str]:
        """Show one image and wait for the action on it; what diagnostics say then. The camera must be off."""
        image = image or self.photograph(age)
        done = int(self.diagnostics.get("actions", 0))
        for _ in range(5):  # images are best effort
            self.show(image)
            if self.happens(lambda: any(a.header.stamp == image.header.stamp for a in self.actions), 2.0):
                break
        self.until(lambda: int(self.diagnostics["actions"]) > done, "the action in diagnostics")
        return self.diagnostics

    # Transitions, parameters and services.

    def call(self, name: str, request: Any) -> Any:
        self.until(self.clients[name].service_is_ready, f"the service {name}", 60.0)
        future = self.clients[name].call_async(request)
        if not self.happens(future.done, 15.0):
            # A service may know of a client's request before it knows where to send the answer, and then drops it.
            future = self.clients[name].call_async(request)
        self.until(future.done, f"an answer of {name}", 30.0)
        return future.result()

    def transition(self, name: str) -> bool:
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[name]
        return self.call("change_state", request).success

    @property
    def state(self) -> str:
        return self.call("get_state", GetState.Request()).current_state.label

    def set_parameters(self, **values: Any) -> Any:
        """The answer for the last of them."""
        messages = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        return self.call("set_parameters", SetParameters.Request(parameters=messages)).results[-1]

    def configure(self, **parameters: Any) -> bool:
        """With these parameters, and the others as the process was started with."""
        if changed := {n: value for n, value in (self._given | parameters).items() if self._values[n] != value}:
            assert self.set_parameters(**changed).successful
            self._values |= changed
        return self.transition("configure")

    def activate(self, **parameters: Any) -> None:
        assert self.configure(**parameters), self.process.log
        self.until(lambda: self.instructions.get_subscription_count() == 0, "the end of the subscriptions before")
        self.commands.clear()
        self.diagnostics.clear()
        self.reasons = [""]
        assert self.transition("activate"), self.process.log
        self.until(lambda: self.commands, "a first command")

    def drive(self, **parameters: Any) -> None:
        """Everything that it takes to move."""
        self.activate(**parameters)
        self.camera = self.photograph
        self.instruct("go to the cup")
        self.until_reason("MOVING")

    def enable(self, enabled: bool) -> None:
        assert self.call("enable", SetBool.Request(data=enabled)).success

    def rest(self) -> None:
        """Back to unconfigured and enabled, whatever was before."""
        self.camera = None
        self.enable(True)
        for state, way in (("active", "deactivate"), ("inactive", "cleanup")):
            assert self.state != state or self.transition(way)

    # What the node says.

    def _listen(self, command_topic: str, command_type: type) -> None:
        self.commands: list[tuple[float, Any]] = []
        self.actions: list[TwistStamped] = []
        self.reasons = [""]
        self.diagnostics: dict[str, str] = {}
        self.level = b""
        self._pauses: list[tuple[float, float]] = []
        self._beat = time.monotonic()
        create = self.probe.create_subscription
        create(command_type, command_topic, lambda m: self.commands.append((time.monotonic(), m)), 50)
        create(TwistStamped, "inference/action", self.actions.append, 50)
        create(String, "inference/reason", lambda m: self.reasons.append(m.data), LATCHED)
        create(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self.clients = {name: self.probe.create_client(kind, f"inference/{name}") for name, kind in SERVICES.items()}
        self.probe.create_timer(0.01, self._on_beat)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.diagnostics = {pair.key: pair.value for pair in status.values} | {"name": status.name}
            self.level = status.level

    def _on_beat(self) -> None:
        now = time.monotonic()
        self._pauses.append((now, now - self._beat))
        self._beat = now

    @property
    def reason(self) -> str:
        return self.reasons[-1]

    @property
    def velocities(self) -> list[tuple[float, float, float]]:
        """All commands since activation as (linear.x, linear.y, angular.z)."""
        twists = [getattr(message, "twist", message) for _, message in self.commands]
        return [(twist.linear.x, twist.linear.y, twist.angular.z) for twist in twists]

    def is_moving(self) -> bool:
        return any(self.velocities[-1])

    def has_moved(self) -> bool:
        """Return whether it has, since activation."""
        return any(map(any, self.velocities))

    def stop(self) -> float:
        """Wait for a zero and see that nothing else follows; when the first one arrived."""
        self.until(lambda: not self.is_moving(), "a zero")
        seen = len(self.commands)
        self.until(lambda: len(self.commands) > seen + 5, "commands")
        assert not any(map(any, self.velocities[seen:]))
        moving = [index for index, velocity in enumerate(self.velocities[:seen]) if any(velocity)]
        return self.commands[moving[-1] + 1][0]

    # Waiting.

    def happens(self, condition: Callable[[], Any], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not (found := condition()) and time.monotonic() <= end:
            time.sleep(0.005)
        return bool(found)

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 10.0) -> None:
        begin = time.monotonic()
        while not condition():
            if not self.process.is_alive or time.monotonic() > begin + seconds:
                state = "alive" if self.process.is_alive else "dead"
                end = "\n".join(self.process.log.splitlines()[-20:])
                pytest.fail(f"{what} did not come; the node is {state}; its last reason is {self.reason!r}\n{end}")
            time.sleep(0.005)

    def until_reason(self, name: str) -> None:
        self.until(lambda: self.reason.startswith(f"{name}:"), name)

    def timed(self, check: Callable[[], None]) -> None:
        """Run a check of times; once more if it fails while the machine did not even let the probe run."""
        begin = time.monotonic()
        try:
            check()
        except AssertionError:
            if max((pause for at, pause in self._pauses if at > begin), default=STALL) < STALL:
                raise
            check()
