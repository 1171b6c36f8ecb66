"""The velocity guard: a small process between whoever commands and the base, that stops the base when that one fails.

It outlives the inference process and shares nothing with it: no torch, no OpenCV.
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
    """`cmd_vel_raw` in, `cmd_vel` out: commands on their arrival, zeros at `command_rate` while there is none to trust.

    Raises ConfigError for a parameter that is not allowed.
    """

    def __init__(self) -> None:
        super().__init__("velocity_guard")
        parameters.declare(self, GuardParameters, fixed=True)
        self._settings = parameters.read(self, GuardParameters)
        period = 1.0 / self._settings.command_rate
        self._guard = Guard(self._settings.limits, period=period, timeout=self._settings.guard_timeout)
        # Between the executor's callbacks and the end of the process: after the last zero no command may follow.
        self._lock = threading.Lock()
        self._ended = False
        self._commands = CmdVelPublisher(self, self._settings)
        self._reporter = StatusPublisher(self, "guard", Decision(ZERO, GuardReason.NO_COMMAND), self._facts)
        self.create_subscription(cmd_vel_type(self._settings), _INPUT, self._on_command, 1)
        self.create_service(SetBool, "velocity_guard/enable", self._on_enable)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._timer = self.create_timer(period, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def stop(self, why: str) -> None:
        """A last zero and the reason for it, received by whoever listens."""
        with self._lock:
            self._ended = True
            self._publish(Decision(ZERO, GuardReason.ENDED, why))
        self._commands.flush()
        self._reporter.flush()

    def _on_command(self, message: Twist | TwistStamped) -> None:
        velocity = Velocity.from_twist(message)
        with self._lock:
            if self._ended:
                return
            before = self._reporter.decision.reason
            decision = self._guard.command(velocity, self._sources(), time.monotonic())
            if decision.reason is GuardReason.FORWARDING:
                # The next tick that finds the command stale is then a whole number of periods after its arrival.
                self._timer.reset()
            if decision.reason is GuardReason.FORWARDING or decision.reason is not before:
                self._publish(decision)

    def _on_tick(self) -> None:
        with self._lock:
            decision = None if self._ended else self._guard.tick(self._sources(), time.monotonic())
            if decision is not None:
                self._publish(decision)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """The e-stop: a zero is published before the answer."""
        with self._lock:
            response.success = self._guard.enable(request.data, self._sources())
            if not request.data and not self._ended:
                self._publish(Decision(ZERO, GuardReason.DISABLED))
        if not request.data:
            response.message = "disabled: the robot stands until enabled again"
        elif response.success:
            response.message = "enabled"
        else:
            response.message = "still held, for nobody publishes commands: start the inference node, then enable again"
        return response

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            parameters.check_not_deleted(GuardParameters, changes)
            if parameters.check_live(GuardParameters, changes):
                settings = parameters.read(self, GuardParameters, changes)
                with self._lock:
                    self._guard.update_limits(settings.limits, settings.guard_timeout)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _publish(self, decision: Decision) -> None:
        """Under the lock."""
        self._commands.publish(decision.velocity)
        self._reporter.publish_on_change(decision)

    def _sources(self) -> frozenset[bytes]:
        found = self.get_publishers_info_by_topic(_INPUT)  # which remaps the name as the subscription does
        return frozenset(bytes(publisher.endpoint_gid) for publisher in found)

    def _facts(self) -> StatusValues:
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
