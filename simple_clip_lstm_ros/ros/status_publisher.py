"""Publisher of a node's status: its reason on change, and diagnostics on change and twice a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import String

from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.ros.conversions import to_diagnostics
from simple_clip_lstm_ros.ros.qos import LATCHED

_PERIOD = 0.5  # s
_DETAIL_PERIOD = 1.0  # s; the text of an error may change at each step


@dataclass(frozen=True)
class StatusValues:
    """Diagnostics in addition to the reason.

    `values` are the present values, `hardware` is the hardware ID; `warn` and `failed` raise the level.
    """

    values: Mapping[str, object] = field(default_factory=dict)
    hardware: str = ""
    warn: bool = False
    failed: bool = False


class StatusPublisher:
    """Publishes `<node>/reason` (latched) and `/diagnostics`, as the status `<node's full name>: <part>`."""

    def __init__(self, node: Node, part: str, decision: Decision, read_values: Callable[[], StatusValues]) -> None:
        self._node = node
        self._name = f"{node.get_fully_qualified_name().lstrip('/')}: {part}"
        self._read_values = read_values
        self._reasons = node.create_publisher(String, f"{node.get_name()}/reason", LATCHED)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        node.create_timer(_PERIOD, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.publish(decision)

    def publish_on_change(self, decision: Decision) -> None:
        """Log and publish `decision` if it differs; once a second at most if only its detail does."""
        has_new_reason = decision.reason is not self.decision.reason
        is_due = time.monotonic() > self._last_time + _DETAIL_PERIOD
        if has_new_reason or (decision.detail != self.decision.detail and is_due):
            self._node.get_logger().info(str(decision))
            self.publish(decision)

    def publish(self, decision: Decision) -> None:
        self.decision = decision
        self._last_time = time.monotonic()
        self._reasons.publish(String(data=str(decision)))
        self._publish()

    def flush(self) -> None:
        """Wait, for 0.5 s at most, until the subscribers have received the last reason."""
        self._reasons.wait_for_all_acked(Duration(seconds=0.5))

    def _publish(self) -> None:
        status, decision, now = self._read_values(), self.decision, self._node.get_clock().now().to_msg()
        message = str(decision)
        self._diagnostics.publish(
            to_diagnostics(
                self._name,
                status.hardware,
                decision.reason,
                message,
                status.values,
                now,
                warn=status.warn,
                failed=status.failed,
            )
        )
