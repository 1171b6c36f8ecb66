"""The guard as a process: what goes in on cmd_vel_raw, and what comes out on cmd_vel."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_domain import LOCAL, own_domain
from std_msgs.msg import String
from std_srvs.srv import SetBool

pytestmark = pytest.mark.ros
ROOT = Path(__file__).parents[2]
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Base:
    """The guard's process, a source of commands before it and a base behind it."""

    def __init__(
        self,
        log: Path,
        domain: int,
        *arguments: str,
        kind: type = Twist,
        raw: str = "cmd_vel_raw",
        out: str = "cmd_vel",
    ) -> None:
        self._log = log
        self._raw = raw
        self._kind = kind
        command = ["timeout", "-s", "KILL", "120", sys.executable, "-m", "simple_clip_lstm_ros.node.velocity_guard"]
        command += ["--ros-args", *arguments]
        with log.open("w") as stream:
            environment = os.environ | LOCAL | {"ROS_DOMAIN_ID": str(domain)}
            self.guard = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream)
        self._context = rclpy.Context()
        self._context.init(domain_id=domain)
        self.node = rclpy.create_node("base", context=self._context)
        self.commands: list[tuple[float, tuple[float, float, float]]] = []
        self.reasons = [""]
        self.diagnostics: dict[str, str] = {}
        self.level = b""
        self.node.create_subscription(kind, out, self._on_command, 50)
        self.node.create_subscription(String, "velocity_guard/reason", lambda m: self.reasons.append(m.data), LATCHED)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._enable = self.node.create_client(SetBool, "velocity_guard/enable")
        self._set = self.node.create_client(SetParameters, "velocity_guard/set_parameters")
        self.velocity: tuple[float, ...] | None = None
        self.new_source()
        self.node.create_timer(0.05, self._on_time)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._spinner = threading.Thread(target=self._executor.spin)
        self._spinner.start()

    def close(self) -> None:
        if self.guard.poll() is None:
            self.process.kill()
            self.guard.wait(10.0)
        self._executor.shutdown()
        self._spinner.join()
        self.node.destroy_node()
        self._context.shutdown()

    def new_source(self) -> None:
        """Another publisher, as after a restart."""
        self.source = self.node.create_publisher(self._kind, self._raw, 1)

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.guard.pid).children()[0]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def publish(self, *velocity: float) -> None:
        message = self._kind()
        twist = message.twist if self._kind is TwistStamped else message
        twist.linear.x, twist.linear.y, twist.angular.z = velocity
        self.source.publish(message)

    def _on_time(self) -> None:
        if self.velocity is not None:
            self.publish(*self.velocity)

    def _on_command(self, message: Twist | TwistStamped) -> None:
        twist = message.twist if self._kind is TwistStamped else message
        self.commands.append((time.monotonic(), (twist.linear.x, twist.linear.y, twist.angular.z)))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        (status,) = message.status
        self.diagnostics = {pair.key: pair.value for pair in status.values} | {"name": status.name}
        self.level = status.level

    @property
    def last(self) -> tuple[float, float, float]:
        return self.commands[-1][1]

    def until(self, condition, what: str, seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what} did not come; {self.reasons[-1]}\n{self.log}"
            time.sleep(0.005)

    def until_reason(self, name: str) -> None:
        self.until(lambda: self.reasons[-1].startswith(f"{name}:"), name)

    def drive(self, *velocity: float) -> None:
        self.velocity = velocity
        self.until(lambda: self.commands and self.last == pytest.approx(velocity), "that velocity")

    def enable(self, enabled: bool) -> None:
        assert self.enable_answer(enabled).success

    def enable_answer(self, enabled: bool) -> SetBool.Response:
        self.until(self._enable.service_is_ready, "the service")
        future = self._enable.call_async(SetBool.Request(data=enabled))
        self.until(future.done, "an answer")
        return future.result()

    def set(self, **values):
        self.until(self._set.service_is_ready, "the service")
        messages = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        future = self._set.call_async(SetParameters.Request(parameters=messages))
        self.until(future.done, "an answer")
        return future.result().results[-1]

    def stays_zero(self) -> bool:
        seen = len(self.commands)
        self.until(lambda: len(self.commands) > seen + 8, "commands")
        return not any(map(any, (axes for _, axes in self.commands[seen:])))


@pytest.fixture
def make(tmp_path):
    bases = []
    domains = []

    def make(*arguments, **options):
        domains.append(own_domain())
        bases.append(Base(tmp_path / f"log{len(bases)}", domains[-1].__enter__(), *arguments, **options))
        return bases[-1]

    yield make
    for base, domain in zip(bases, domains, strict=True):
        base.close()
        domain.__exit__(None, None, None)


@pytest.fixture
def base(make):
    base = make()
    base.until(lambda: base.commands, "a first zero")
    return base


@pytest.mark.serial
def test_without_a_source_it_publishes_zeros_at_its_rate_and_says_so(base):
    base.until_reason("NO_COMMAND")
    begin = len(base.commands)
    base.until(lambda: len(base.commands) > begin + 20, "commands")
    (first, _), (last, _) = base.commands[begin], base.commands[begin + 20]
    assert last - first == pytest.approx(1.0, abs=0.1)
    assert not any(map(any, (axes for _, axes in base.commands)))


def test_it_is_light(base):
    maps = {Path(found.path).name for found in base.process.memory_maps()}
    assert base.process.memory_info().rss < 100e6
    assert not [name for name in maps if re.match(r"libtorch|cv2|_cv|libopencv", name)]


def test_it_forwards_on_arrival_and_stops_when_commands_stop(base):
    base.drive(0.2, -0.1, 0.5)
    base.until_reason("FORWARDING")
    base.velocity = None
    base.until(lambda: not any(base.last), "a zero")
    moving = [at for at, axes in base.commands if any(axes)]
    stopped = next(at for at, axes in base.commands if at > moving[-1])
    assert 0.2 < stopped - moving[-1] < 0.45
    base.until_reason("COMMAND_STALE")
    assert base.stays_zero()
    base.drive(0.1, 0.0, 0.0)  # the same source: it only was late


def test_what_exceeds_the_limits_is_scaled_and_counted(base):
    base.velocity = (0.6, 0.0, 0.4)
    base.until(lambda: base.commands and base.last == pytest.approx((0.3, 0.0, 0.2)), "half of it")
    base.until(lambda: int(base.diagnostics["commands clipped"]) > 0, "the count")


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_not_finite_stops_it(base, broken):
    base.drive(0.2, 0.0, 0.0)
    base.velocity = (0.2, 0.0, broken)
    base.until_reason("NON_FINITE")
    assert base.stays_zero() and base.level == b"\x02"
    base.drive(0.2, 0.0, 0.0)


def test_the_stop_comes_before_the_answer(make):
    base = make("-p", "command_rate:=4.0")
    base.until(lambda: base.commands, "a first zero")
    base.publish(0.05, 0.0, 0.0)
    base.until(lambda: any(base.last), "motion")  # which begins a period of a quarter of a second
    base.enable(False)
    answered = time.monotonic()
    base.until(lambda: not any(base.last), "a zero")
    assert base.commands[-1][0] < answered + 0.1


def test_the_stop_lasts(base):
    base.drive(0.2, 0.0, 0.0)
    base.enable(False)
    base.until_reason("DISABLED")
    assert base.stays_zero()
    base.enable(True)
    base.until(lambda: any(base.last), "motion")


def test_another_source_is_held_until_enabled(base):
    base.drive(0.2, 0.0, 0.0)
    base.node.destroy_publisher(base.source)
    base.new_source()
    base.until_reason("HELD")
    assert base.stays_zero() and base.level == b"\x01"
    base.enable(True)
    base.until(lambda: any(base.last), "motion")


def test_a_source_that_comes_after_the_stop_was_lifted_is_held_as_well(base):
    """Nobody has looked at it: the stop was lifted for the one before."""
    base.drive(0.2, 0.0, 0.0)
    base.enable(False)
    base.node.destroy_publisher(base.source)
    base.velocity = None
    base.until_reason("DISABLED")
    time.sleep(0.2)
    assert not base.enable_answer(True).success, "nobody is there to be enabled"
    base.new_source()
    base.velocity = (0.2, 0.0, 0.0)
    base.until_reason("HELD")
    assert base.stays_zero()


def test_remapped_it_watches_its_input(make):
    base = make("-r", "cmd_vel_raw:=cmd_vel", "-r", "cmd_vel:=base_cmd", raw="cmd_vel", out="base_cmd")
    base.drive(0.2, 0.0, 0.0)
    base.node.destroy_publisher(base.source)
    base.new_source()
    base.until_reason("HELD")


def test_limits_and_timeout_change_while_it_drives(base):
    base.drive(0.3, 0.0, 0.0)
    assert base.set(max_velocity=[0.1, 0.1, 0.1]).successful
    base.until(lambda: base.last[0] == pytest.approx(0.1), "the new limit")
    answer = base.set(guard_timeout=-1.0)
    assert not answer.successful and "guard_timeout must be above 0" in answer.reason
    assert not base.set(command_rate=5.0).successful
    assert "cannot be deleted" in base.set(max_velocity=None).reason


def test_a_parameter_that_is_not_allowed_ends_it_in_one_line(make):
    base = make("-p", "max_decel:=[1.0, 1.0, 1.0]")
    assert base.guard.wait(20.0) == 1
    assert base.log.strip().splitlines()[-1].startswith("error: max_decel must be finite and negative")
    assert "Traceback" not in base.log


def test_stamped_velocities_come_out_as_they_go_in(make):
    base = make("-p", "enable_stamped_cmd_vel:=true", kind=TwistStamped)
    base.drive(0.2, 0.0, 0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_asked_to_end_it_says_zero_last(base, number):
    base.drive(0.2, 0.0, 0.0)
    base.process.send_signal(number)
    assert base.guard.wait(10.0) == 0
    base.until(lambda: not any(base.last), "a zero")
    time.sleep(0.2)
    assert not any(base.last) and "Traceback" not in base.log
    assert base.reasons[-1].startswith("ENDED:")
