"""What a node says of itself: its reason on each change, and diagnostics twice a second and on each change."""

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
_DETAIL_PERIOD = 1.0  # s; the text of an error may change with each step


@dataclass(frozen=True)
class StatusValues:
    """Beside the reason: values as they are now, whose they are, and whether something is doubtful or has failed."""

    values: Mapping[str, object] = field(default_factory=dict)
    hardware: str = ""
    warn: bool = False
    failed: bool = False


class StatusPublisher:
    """Publishes `<node>/reason` (latched) and `/diagnostics`, as the status `<node's full name>: <part>`."""

    def __init__(self, node: Node, part: str, decision: Decision, facts: Callable[[], StatusValues]) -> None:
        self._node = node
        self._name = f"{node.get_fully_qualified_name().lstrip('/')}: {part}"
        self._facts = facts
        self._reasons = node.create_publisher(String, f"{node.get_name()}/reason", LATCHED)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        node.create_timer(_PERIOD, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.publish(decision)

    def publish_on_change(self, decision: Decision) -> None:
        """Log and tell it if it differs from the last; if only its detail does, once a second at most."""
        is_new = decision.reason is not self.decision.reason
        is_other = decision.detail != self.decision.detail and time.monotonic() > self._told + _DETAIL_PERIOD
        if is_new or is_other:
            self._node.get_logger().info(str(decision))
            self.publish(decision)

    def publish(self, decision: Decision) -> None:
        self.decision = decision
        self._told = time.monotonic()
        self._reasons.publish(String(data=str(decision)))
        self._publish()

    def flush(self) -> None:
        """Wait, half a second at most, until the last reason has reached whoever listens."""
        self._reasons.wait_for_all_acked(Duration(seconds=0.5))

    def _publish(self) -> None:
        facts, decision, now = self._facts(), self.decision, self._node.get_clock().now().to_msg()
        message = str(decision)
        self._diagnostics.publish(
            to_diagnostics(
                self._name,
                facts.hardware,
                decision.reason,
                message,
                facts.values,
                now,
                warn=facts.warn,
                failed=facts.failed,
            )
        )
