"""What belongs into a bag, and how it is heard: as the bytes that came, but for images that the camera sends raw."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from simple_clip_lstm_ros.data.alarm import GUARD, INFERENCE
from simple_clip_lstm_ros.data.images import to_jpeg, to_rgb
from simple_clip_lstm_ros.data.ring import Channel
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.node.bag_settings import BagSettings

DIAGNOSTICS = "/diagnostics"
REASONS = {f"{node}/reason": node for node in (INFERENCE, GUARD)}
_IMAGES = QoSProfile(depth=10, reliability=qos_profile_sensor_data.reliability)
_ALL = QoSProfile(depth=100)
_LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_COMMANDS = {"geometry_msgs/msg/Twist": Twist, "geometry_msgs/msg/TwistStamped": TwistStamped}

Take = Callable[[Channel, bytes], None]


class Profile:
    """Subscribes to all of it and hands on each message with its channel. Of the executor's thread."""

    def __init__(self, node: Node, settings: BagSettings, take: Take) -> None:
        self._node = node
        self._take = take
        self._quality = round(settings.jpeg_quality)
        self._latest: dict[Channel, bytes] = {}
        # A base takes one of two types, and nothing is heard by a subscription of the other.
        self._unknown = {"cmd_vel", "cmd_vel_raw"}
        self._subscribe_to_images(settings)
        # Twice, as the inference node does, for a volatile publisher does not reach a latched subscription.
        for profile in (_ALL, _LATCHED):
            self._subscribe(String, "instruction", profile, is_latched=True)
        for topic in REASONS:
            self._subscribe(String, topic, _LATCHED, is_latched=True)
        self._subscribe(TwistStamped, "inference/action", _ALL)
        self._subscribe(DiagnosticArray, DIAGNOSTICS, _ALL)

    def look(self) -> None:
        """For commands: whoever publishes them shows their type."""
        for topic in sorted(self._unknown):
            types = {each.topic_type for each in self._node.get_publishers_info_by_topic(topic)}
            for kind in types & _COMMANDS.keys():
                self._subscribe(_COMMANDS[kind], topic, _ALL)
                self._unknown.discard(topic)

    def _subscribe(self, kind: Any, topic: str, profile: QoSProfile, *, is_latched: bool = False) -> None:
        channel = self._channel(topic, kind, is_latched)
        take = self._take_new if is_latched else self._take
        self._node.create_subscription(kind, topic, lambda data: take(channel, data), profile, raw=True)

    def _take_new(self, channel: Channel, data: bytes) -> None:
        """What is latched reaches both subscriptions, and to say the same again changes nothing."""
        if self._latest.get(channel) != data:
            self._latest[channel] = data
            self._take(channel, data)

    def _channel(self, topic: str, kind: Any, is_latched: bool = False) -> Channel:
        package = kind.__module__.partition(".")[0]
        return Channel(self._node.resolve_topic_name(topic), f"{package}/msg/{kind.__name__}", is_latched)

    def _subscribe_to_images(self, settings: BagSettings) -> None:
        topic = f"{settings.image_topic}/compressed"
        if settings.image_transport == "compressed":
            self._subscribe(CompressedImage, topic, _IMAGES)
        else:
            channel = self._channel(topic, CompressedImage)
            self._node.create_subscription(
                Image, settings.image_topic, lambda message: self._compress(channel, message), _IMAGES
            )

    def _compress(self, channel: Channel, message: Image) -> None:
        try:
            rgb = to_rgb(message)
        except InputError as error:
            self._node.get_logger().warning(f"image not recorded: {error}", throttle_duration_sec=5.0)
            return
        data = array.array("B", to_jpeg(rgb, self._quality))
        self._take(channel, serialize_message(CompressedImage(header=message.header, format="jpeg", data=data)))
