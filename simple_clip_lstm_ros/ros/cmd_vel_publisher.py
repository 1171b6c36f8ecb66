"""Publisher of velocities on `cmd_vel`, as Twist or TwistStamped."""

from __future__ import annotations

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.duration import Duration
from rclpy.node import Node

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.ros.conversions import to_twist, to_twist_stamped
from simple_clip_lstm_ros.ros.motion_parameters import MotionParameters


def cmd_vel_type(settings: MotionParameters) -> type[Twist] | type[TwistStamped]:
    return TwistStamped if settings.enable_stamped_cmd_vel else Twist


class CmdVelPublisher:
    """Publishes velocities on `cmd_vel`; reliable, with depth 1: only the newest command counts."""

    def __init__(self, node: Node, settings: MotionParameters) -> None:
        self._node = node
        self._frame_id = settings.frame_id
        self._is_stamped = settings.enable_stamped_cmd_vel
        self._publisher = node.create_publisher(cmd_vel_type(settings), "cmd_vel", 1)

    def publish(self, velocity: Velocity) -> None:
        if self._is_stamped:
            self._publisher.publish(to_twist_stamped(velocity, self._node.get_clock().now().to_msg(), self._frame_id))
        else:
            self._publisher.publish(to_twist(velocity))

    def flush(self) -> None:
        """Wait, for 1 s at most, until all reliable subscribers have received the last velocity."""
        self._publisher.wait_for_all_acked(Duration(seconds=1))

    def destroy(self) -> None:
        self._node.destroy_publisher(self._publisher)
