"""Observe a `sim_robot` that drives in a NodeHarness: its path and the outcome of the drive."""

from __future__ import annotations

import json
import math
from dataclasses import fields

from nav_msgs.msg import Odometry
from std_msgs.msg import String

from simple_clip_lstm_ros.errors import SimpleClipLstmError
from simple_clip_lstm_ros.harness.node_harness import NodeHarness
from simple_clip_lstm_ros.ros.qos import LATCHED
from simple_clip_lstm_ros.sim.layout import Pose
from simple_clip_lstm_ros.sim.world import Outcome

_TIMEOUT = 10.0  # s for the first odometry after a reset


class DriveObserver:
    """Collects the drive of a simulated robot.

    `path` are the poses since `reset`, `outcome` is its last published outcome, None before.
    """

    def __init__(self, harness: NodeHarness) -> None:
        self._harness = harness
        self.path: list[Pose] = []
        self.outcome: Outcome | None = None
        harness.node.create_subscription(Odometry, "odom", self._on_odometry, 10)
        harness.node.create_subscription(String, "sim_robot/outcome", self._on_outcome, LATCHED)

    def reset(self) -> None:
        """Reset the world: the robot is at its start, and its time counts from now."""
        self._harness.call_trigger("sim_robot/reset")
        self.path, self.outcome = [], None
        if not self._harness.spin_for(_TIMEOUT, lambda: bool(self.path)):
            raise SimpleClipLstmError(f"no odometry from the robot within {_TIMEOUT:g} s")

    def _on_odometry(self, message: Odometry) -> None:
        pose = message.pose.pose
        yaw = 2.0 * math.atan2(pose.orientation.z, pose.orientation.w)
        self.path.append(Pose(pose.position.x, pose.position.y, math.remainder(yaw, math.tau)))

    def _on_outcome(self, message: String) -> None:
        values = json.loads(message.data)
        self.outcome = Outcome(**{each.name: values[each.name] for each in fields(Outcome)})
