"""Velocities, frames and reports as ROS messages."""

from __future__ import annotations

import array
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Twist, TwistStamped
from sensor_msgs.msg import Image

from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.velocity import Velocity

_WAITING = {Reason.INACTIVE, Reason.DISABLED, Reason.NO_INSTRUCTION, Reason.STOPPING, Reason.NO_ACTION, Reason.MOVING}
_ERRORS = {Reason.STEP_ERROR, Reason.NON_FINITE, Reason.IMAGE_STALE, Reason.COMMAND_STALE}


def to_seconds(stamp: Time) -> float:
    return stamp.sec + stamp.nanosec * 1e-9


def to_twist(velocity: Velocity) -> Twist:
    twist = Twist()
    twist.linear.x, twist.linear.y, twist.angular.z = velocity.as_tuple()
    return twist


def to_twist_stamped(velocity: Velocity, stamp: Time, frame_id: str) -> TwistStamped:
    message = TwistStamped(twist=to_twist(velocity))
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    return message


def to_image(rgb: np.ndarray, stamp: Time, frame_id: str) -> Image:
    """uint8 [height, width, 3] -> rgb8."""
    height, width, _ = rgb.shape
    message = Image(height=height, width=width, encoding="rgb8", step=width * 3)
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    # rclpy copies an array.array at once; any other sequence it checks item by item, a thousand times slower.
    message.data = array.array("B", rgb.tobytes())
    return message


def with_lines(rgb: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """A copy of the frame with lines of text at its top left, readable on any ground."""
    drawn = np.ascontiguousarray(rgb).copy()
    scale = max(0.4, rgb.shape[0] / 960)
    for number, line in enumerate(lines, start=1):
        at = (int(10 * scale), int(32 * scale * number))
        for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(drawn, line, at, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)
    return drawn


def to_diagnostics(
    name: str, hardware: str, reason: Reason, message: str, values: Mapping[str, object], stamp: Time, *, doubts: bool
) -> DiagnosticArray:
    """One status: ERROR for what went wrong, WARN where the robot stands for a defect or with `doubts`, else OK."""
    if reason in _ERRORS:
        level = DiagnosticStatus.ERROR
    else:
        level = DiagnosticStatus.WARN if doubts or reason not in _WAITING else DiagnosticStatus.OK
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    status = DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware, values=pairs)
    report = DiagnosticArray(status=[status])
    report.header.stamp = stamp
    return report
