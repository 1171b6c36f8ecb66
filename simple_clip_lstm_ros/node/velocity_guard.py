"""Velocity guard: a small process before the base that stops it when the source of commands fails.

It survives a crash of the inference process and shares nothing with it: no torch, no OpenCV.
"""

from __future__ import annotations

import threading
import time
from typing import NoReturn

from geometry_msgs.msg import Twist, TwistStamped
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.control.guard import Guard, GuardReason
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.ros import parameters, process
from simple_clip_lstm_ros.ros.cmd_vel_publisher import CmdVelPublisher, cmd_vel_type
from simple_clip_lstm_ros.ros.motion_parameters import GuardParameters
from simple_clip_lstm_ros.ros.status_publisher import StatusPublisher, StatusValues

_INPUT = "cmd_vel_raw"


class VelocityGuard(Node):
    """Forwards `cmd_vel_raw` to `cmd_vel` on arrival; publishes zeros at `command_rate` otherwise.

    Raise ConfigError for an invalid parameter.
    """

    def __init__(self) -> None:
        super().__init__("velocity_guard")
        parameters.declare_parameters(self, GuardParameters, read_only=True)
        self._settings = parameters.read_parameters(self, GuardParameters)
        period = 1.0 / self._settings.command_rate
        self._guard = Guard(self._settings.limits, period=period, timeout=self._settings.guard_timeout)
        # Shared by the executor's callbacks and the end of the process: no command may follow the last zero.
        self._lock = threading.Lock()
        self._is_ended = False
        self._cmd_vel = CmdVelPublisher(self, self._settings)
        self._status = StatusPublisher(self, "guard", Decision(ZERO, GuardReason.NO_COMMAND), self._status_values)
        self.create_subscription(cmd_vel_type(self._settings), _INPUT, self._on_command, 1)
        self.create_service(SetBool, "velocity_guard/enable", self._on_enable)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._timer = self.create_timer(period, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def stop(self, why: str) -> None:
        """Publish a last zero and its reason, and wait until the subscribers have received them."""
        with self._lock:
            self._is_ended = True
            self._publish(Decision(ZERO, GuardReason.ENDED, why))
        self._cmd_vel.flush()
        self._status.flush()

    def _on_command(self, message: Twist | TwistStamped) -> None:
        velocity = Velocity.from_twist(message)
        with self._lock:
            if self._is_ended:
                return
            before = self._status.decision.reason
            decision = self._guard.on_command(velocity, self._sources(), time.monotonic())
            if decision.reason is GuardReason.FORWARDING:
                # Then ticks, which detect a stale command, are whole periods after its arrival.
                self._timer.reset()
            if decision.reason is GuardReason.FORWARDING or decision.reason is not before:
                self._publish(decision)

    def _on_tick(self) -> None:
        with self._lock:
            decision = None if self._is_ended else self._guard.tick(self._sources(), time.monotonic())
            if decision is not None:
                self._publish(decision)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Enable or stop (software e-stop); publish a zero before the response."""
        with self._lock:
            response.success = self._guard.enable(request.data, self._sources())
            if not request.data and not self._is_ended:
                self._publish(Decision(ZERO, GuardReason.DISABLED))
        if not request.data:
            response.message = "disabled: the robot does not move until enabled again"
        elif response.success:
            response.message = "enabled"
        else:
            response.message = "still held: no node publishes commands; start the inference node, then enable again"
        return response

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            parameters.check_not_deleted(GuardParameters, changes)
            if parameters.check_live(GuardParameters, changes):
                settings = parameters.read_parameters(self, GuardParameters, changes)
                with self._lock:
                    self._guard.update_limits(settings.limits, settings.guard_timeout)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _publish(self, decision: Decision) -> None:
        """Publish velocity and reason. Requires the lock."""
        self._cmd_vel.publish(decision.velocity)
        self._status.publish_on_change(decision)

    def _sources(self) -> frozenset[bytes]:
        found = self.get_publishers_info_by_topic(_INPUT)  # remaps the name like the subscription
        return frozenset(bytes(publisher.endpoint_gid) for publisher in found)

    def _status_values(self) -> StatusValues:
        guard = self._guard
        reason_durations = {
            f"{name} (times, s)": f"{s['times']}, {s['seconds']}"
            for name, s in guard.reason_durations.summary().items()
        }
        limits = {name: list(getattr(guard.limits, name)) for name in ("max_velocity", "min_velocity")}
        return StatusValues({**guard.counts, **reason_durations, **limits, "guard_timeout (s)": guard.timeout})


def main() -> NoReturn:
    process.run(VelocityGuard)


if __name__ == "__main__":
    main()
