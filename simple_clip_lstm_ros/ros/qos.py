"""QoS profiles shared by several nodes, and the subscription to an instruction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.subscription import Subscription
from std_msgs.msg import String

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Best effort: a slow subscriber must not make the camera resend images.
NEWEST_IMAGE = QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability)


def images(depth: int) -> QoSProfile:
    """Return the profile of a subscription that keeps `depth` images."""
    return QoSProfile(depth=depth, reliability=qos_profile_sensor_data.reliability)


def subscribe_to_text(
    node: Node,
    topic: str,
    callback: Callable[[Any], None],
    *,
    volatile_depth: int = 10,
    latched_depth: int = 1,
    **options: Any,
) -> list[Subscription]:
    """Subscribe to a String topic twice, so that volatile and latched publishers both match.

    A volatile publisher does not match a transient-local subscription, and a volatile subscription misses a latched
    message from before it. Some publishers match one of the two only, so rclpy's incompatible-QoS warning is off.
    `callback` gets a latched message twice.
    """
    quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
    latched = QoSProfile(depth=latched_depth, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    profiles = (QoSProfile(depth=volatile_depth), latched)
    return [
        node.create_subscription(String, topic, callback, each, event_callbacks=quiet, **options) for each in profiles
    ]
