"""A robot to be maltreated: its processes, who drives it, and a record of all that reaches its base."""

from __future__ import annotations

import bisect
import itertools
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist
from lifecycle_msgs.srv import ChangeState, GetState
from processes import Processes, sweep
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_domain import LOCAL, own_domain
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from switch import Switch
from warm_python import WarmPython

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
INSTRUCTION = "go to the cup"
TRANSITIONS = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}
_SERVICES = {
    **{"inference/change_state": ChangeState, "inference/get_state": GetState, "inference/reset": Trigger},
    **{"inference/set_parameters": SetParameters, "inference/report": Trigger},
    **{"inference/enable": SetBool, "velocity_guard/enable": SetBool},
}
Record = list[tuple[float, Any]]


class Robot:
    """`with Robot(...) as robot:`; everything arrives with time.monotonic(). `sim_time`: `clock` is what it goes by."""

    def __init__(
        self, python: WarmPython, folder: Path, checkpoint: Path, *, sim_time: bool = False, lifetime: int = 3600
    ) -> None:
        sweep()
        self._domain = own_domain()
        domain = self._domain.__enter__()
        self.processes = Processes(python, folder, domain, checkpoint, sim_time=sim_time, lifetime=lifetime)
        self.inference, self.camera = (Switch(folder / f"{name}.switch") for name in ("inference", "camera"))
        self.clock_offset = 1e6
        os.environ.update(LOCAL)
        self._context = rclpy.Context()
        self._context.init(domain_id=domain)
        self._node = rclpy.create_node("person", context=self._context)
        self._instructions = self._node.create_publisher(String, "instruction", LATCHED)
        self._clients = {name: self._node.create_client(kind, name) for name, kind in _SERVICES.items()}
        self._listen()
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._spinner = threading.Thread(target=self._executor.spin)
        self._clock = self._node.create_publisher(Clock, "/clock", 1)
        self._clock_timer = self._node.create_timer(0.02, self._on_clock)
        if not sim_time:
            self._clock_timer.cancel()
        self._spinner.start()

    def __enter__(self) -> Robot:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._spinner.join()
        self._node.destroy_node()
        self._context.shutdown()
        self.processes.close()
        self._domain.__exit__(None, None, None)

    # What it does and says.

    def _listen(self) -> None:
        self.commands: Record = []
        self.raw: Record = []
        self.reasons: dict[str, Record] = {"inference": [], "velocity_guard": []}
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self._beats: list[float] = [time.monotonic()]
        subscribe = self._node.create_subscription
        subscribe(Twist, "cmd_vel", lambda m: self.commands.append((time.monotonic(), _axes(m))), 50)
        subscribe(Twist, "cmd_vel_raw", lambda m: self.raw.append((time.monotonic(), _axes(m))), 50)
        for name, record in self.reasons.items():
            subscribe(String, f"{name}/reason", lambda m, r=record: r.append((time.monotonic(), m.data)), LATCHED)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._node.create_timer(0.005, lambda: self._beats.append(time.monotonic()))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics |= {status.name: status for status in message.status}

    def _on_clock(self) -> None:
        now = time.monotonic() + self.clock_offset
        self._clock.publish(Clock(clock=Time(sec=int(now), nanosec=int(now % 1 * 1e9))))

    def start_clock(self) -> None:
        self._clock_timer.reset()

    def stop_clock(self) -> None:
        self._clock_timer.cancel()

    def stall(self, begin: float, end: float) -> float:
        """The longest pause of the campaign itself, in seconds: what was timed meanwhile says nothing of the robot."""
        beats = self._beats[max(bisect.bisect(self._beats, begin) - 1, 0) : bisect.bisect(self._beats, end) + 1]
        return max((late - early for early, late in itertools.pairwise(beats)), default=math.inf)

    def reason(self, of: str) -> str:
        record = self.reasons[of]
        return record[-1][1].partition(":")[0] if record else ""

    @property
    def is_warned_of_a_frozen_camera(self) -> bool:
        status = self.diagnostics.get("inference: inference", DiagnosticStatus())
        still = max((float(pair.value) for pair in status.values if pair.key == "same picture for (s)"), default=0.0)
        return still > 2.0 and status.level == DiagnosticStatus.WARN

    @property
    def speed(self) -> float:
        """Of the last command, whatever the axis; NaN if there is none."""
        return max(map(abs, self.commands[-1][1])) if self.commands else math.nan

    def forget(self) -> None:
        """What was recorded; lists stay the same objects, for they are filled from another thread."""
        for record in (self.commands, self.raw, self._beats):
            del record[:-1]
        for record in self.reasons.values():
            del record[:-1]
        self.diagnostics.clear()

    # What a person does with it.

    def get_going(self) -> None:
        """Everything it takes to move at full speed, from whatever state it is in."""
        self.camera.set("")
        self.inference.set("")
        started = [self.start_inference(), *(self.processes.start(name) for name in ("guard", "camera"))]
        state = self.state()
        for wanted, verb in (("unconfigured", "configure"), ("inactive", "activate")):
            if state == wanted:
                assert self.transition(verb), f"{verb} failed; see {self.processes.log('inference')}"
                state = self.state()
        self.say(INSTRUCTION)
        self.call("inference/enable", SetBool.Request(data=True))
        self.until(self._is_forwarded, "a guard that forwards", 20.0)
        self.until(lambda: self.speed == 0.8, "full speed", 20.0)
        # Processes that have just started still load what they need, and the machine is busy with that.
        time.sleep(1.0 if any(started) else 0.0)

    def _is_forwarded(self) -> bool:
        """A source that the guard has not yet discovered when it is enabled holds it once more."""
        self.call("velocity_guard/enable", SetBool.Request(data=True))
        return self.happens(lambda: self.reason("velocity_guard") == "FORWARDING", 0.5)

    def start_inference(self) -> bool:
        """Unless it runs. With a new camera, whose shared memory is not full of what a killed reader had not read."""
        is_new = self.processes.start("inference")
        if is_new:
            self.processes.kill("camera")
            self.processes.start("camera")
        return is_new

    def state(self) -> str:
        """Asked again soon: the first questions to a restarted node go to the one before, still in the graph."""
        return self.call("inference/get_state", GetState.Request(), tries=60, patience=0.5).current_state.label

    def say(self, text: str) -> None:
        self._instructions.publish(String(data=text))

    def transition(self, verb: str) -> bool:
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[verb]
        return self.call("inference/change_state", request).success

    def set_parameters(self, **values: Any) -> Any:
        return self.call("inference/set_parameters", parameters(**values)).results[-1]

    def send(self, name: str, request: Any) -> Any:
        """A future."""
        self.until(self._clients[name].service_is_ready, name, 60.0)
        return self._clients[name].call_async(request)

    def call(self, name: str, request: Any, *, tries: int = 4, patience: float = 5.0) -> Any:
        for _ in range(tries):  # of a node that has just come or gone, an answer may be lost
            future = self.send(name, request)
            if self.happens(future.done, patience):
                return future.result()
        raise TimeoutError(f"{name} does not answer")

    def happens(self, condition: Callable[[], Any], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True

    def until(self, condition: Callable[[], Any], what: str, seconds: float) -> None:
        if not self.happens(condition, seconds):
            reasons = {name: record[-1:] for name, record in self.reasons.items()}
            raise TimeoutError(f"{what} did not come; {reasons}, logs in {self.processes.folder}")


def parameters(**values: Any) -> SetParameters.Request:
    messages = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
    return SetParameters.Request(parameters=messages)


def _axes(message: Twist) -> tuple[float, float, float]:
    return message.linear.x, message.linear.y, message.angular.z
