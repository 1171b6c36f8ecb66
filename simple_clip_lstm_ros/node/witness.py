"""Who watches a `sim_robot` drive on a Stage: where it has been, and what became of it."""

from __future__ import annotations

import json
import math
from dataclasses import fields

from nav_msgs.msg import Odometry
from std_msgs.msg import String

from simple_clip_lstm_ros.errors import SimpleClipLstmError
from simple_clip_lstm_ros.node.reporter import LATCHED
from simple_clip_lstm_ros.node.stage import Stage
from simple_clip_lstm_ros.sim.layout import Pose
from simple_clip_lstm_ros.sim.world import Outcome

_PATIENCE = 10.0  # s


class Witness:
    """`path` has the poses since `begin`, `outcome` what the robot last told of the drive: None while it is nothing."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.path: list[Pose] = []
        self.outcome: Outcome | None = None
        stage.node.create_subscription(Odometry, "odom", self._on_odometry, 10)
        stage.node.create_subscription(String, "sim_robot/outcome", self._on_outcome, LATCHED)

    def begin(self) -> None:
        """The world anew: the robot stands at its start, and its time counts from now."""
        self._stage.ask("sim_robot/reset")
        self.path, self.outcome = [], None
        if not self._stage.watch(_PATIENCE, lambda: bool(self.path)):
            raise SimpleClipLstmError(f"the robot told nothing of where it is within {_PATIENCE:g} s")

    def _on_odometry(self, message: Odometry) -> None:
        pose = message.pose.pose
        yaw = 2.0 * math.atan2(pose.orientation.z, pose.orientation.w)
        self.path.append(Pose(pose.position.x, pose.position.y, math.remainder(yaw, math.tau)))

    def _on_outcome(self, message: String) -> None:
        told = json.loads(message.data)
        self.outcome = Outcome(**{each.name: told[each.name] for each in fields(Outcome)})
