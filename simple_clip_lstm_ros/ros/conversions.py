"""Conversion of velocities, times and status to ROS messages; without OpenCV, to keep the guard small."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Twist, TwistStamped

from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.guard import GuardReason
from simple_clip_lstm_ros.control.velocity import Velocity

# ERROR: something failed; STALE: data stopped; WARN: the user must act; OK: the robot drives or is stopped on purpose.
_LEVELS: dict[enum.Enum, bytes] = {
    Reason.STEP_ERROR: DiagnosticStatus.ERROR,
    Reason.NON_FINITE: DiagnosticStatus.ERROR,
    GuardReason.NON_FINITE: DiagnosticStatus.ERROR,
    Reason.CLOCK_STOPPED: DiagnosticStatus.STALE,
    Reason.IMAGE_STALE: DiagnosticStatus.STALE,
    Reason.COMMAND_STALE: DiagnosticStatus.STALE,
    GuardReason.COMMAND_STALE: DiagnosticStatus.STALE,
    Reason.UNTRAINED: DiagnosticStatus.WARN,
    Reason.INSTRUCTION_REFUSED: DiagnosticStatus.WARN,
    Reason.NO_IMAGE: DiagnosticStatus.WARN,
    GuardReason.HELD: DiagnosticStatus.WARN,
}


def to_seconds(stamp: Time) -> float:
    return stamp.sec + stamp.nanosec * 1e-9


def to_time(seconds: float) -> Time:
    whole, rest = divmod(round(seconds * 1e9), 10**9)
    return Time(sec=whole, nanosec=rest)


def to_twist(velocity: Velocity) -> Twist:
    twist = Twist()
    twist.linear.x, twist.linear.y, twist.angular.z = velocity.as_tuple()
    return twist


def to_twist_stamped(velocity: Velocity, stamp: Time, frame_id: str) -> TwistStamped:
    message = TwistStamped(twist=to_twist(velocity))
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    return message


def to_diagnostics(
    name: str,
    hardware: str,
    reason: enum.Enum,
    message: str,
    values: Mapping[str, object],
    stamp: Time,
    *,
    warn: bool = False,
    failed: bool = False,
) -> DiagnosticArray:
    """Return diagnostics with one status, at the level of `reason`.

    The level is at least WARN if `warn`, and ERROR if `failed`.
    """
    level = DiagnosticStatus.ERROR if failed else _LEVELS.get(reason, DiagnosticStatus.OK)
    if warn and level == DiagnosticStatus.OK:
        level = DiagnosticStatus.WARN
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    status = DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware, values=pairs)
    report = DiagnosticArray(status=[status])
    report.header.stamp = stamp
    return report
