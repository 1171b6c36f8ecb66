"""Velocities, frames and reports as ROS messages. Without OpenCV, since the guard is to stay small."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Twist, TwistStamped

from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.guard import GuardReason
from simple_clip_lstm_ros.control.velocity import Velocity

# What went wrong is an ERROR, what stopped coming is STALE, and what waits for a person to put it right is a WARN; a
# robot that drives, or stands because it was told to, is OK.
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
    """One status, with the level of its reason; at least WARN with `doubts`, and ERROR if something has `failed`."""
    level = DiagnosticStatus.ERROR if failed else _LEVELS.get(reason, DiagnosticStatus.OK)
    if warn and level == DiagnosticStatus.OK:
        level = DiagnosticStatus.WARN
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    status = DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware, values=pairs)
    report = DiagnosticArray(status=[status])
    report.header.stamp = stamp
    return report
