"""What a bag holds: the parameters of the recorder, its topics, and metadata of the run."""

from __future__ import annotations

import array
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from simple_clip_lstm_ros.data.image_decoding import to_jpeg, to_rgb
from simple_clip_lstm_ros.errors import ConfigError, InputError
from simple_clip_lstm_ros.recording.ring_buffer import Channel
from simple_clip_lstm_ros.recording.stop_detector import GUARD, INFERENCE
from simple_clip_lstm_ros.ros.camera_topic import CameraParameters
from simple_clip_lstm_ros.ros.parameters import Range, parameter
from simple_clip_lstm_ros.ros.qos import images, subscribe_to_text
from simple_clip_lstm_ros.ros.remote_parameters import RemoteParameters


@dataclass(frozen=True)
class RecorderParameters(CameraParameters):
    """Values of all parameters, checked. Raises ConfigError."""

    folder: str = parameter("", "where the bags go; it must exist")
    last: float = parameter(
        0.0,
        "keep only so much, in memory, and write it when the robot is stopped; 0: write the whole drive",
        unit="s",
        within="0 or more",
    )
    memory_mb: float = parameter(
        128.0,
        "for what is kept, or waits for the disk; twice that while a bag is written",
        unit="MB",
        within=Range(0.0, 100_000.0),
    )
    jpeg_quality: float = parameter(85.0, "of images that the camera sends raw", within=Range(0.0, 100.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.last <= 3600.0:
            raise ConfigError(f"last must be from 0 to 3600 s, not {self.last:g}")


DIAGNOSTICS = "/diagnostics"
REASONS = {f"{node}/reason": node for node in (INFERENCE, GUARD)}
_IMAGES = images(10)
_DEPTH = 100
_ALL = QoSProfile(depth=_DEPTH)
_LATCHED = QoSProfile(depth=_DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_COMMANDS = {"geometry_msgs/msg/Twist": Twist, "geometry_msgs/msg/TwistStamped": TwistStamped}

Take = Callable[[Channel, bytes], None]


class RecordedTopics:
    """Subscribes to all of it and hands on each message with its channel. Of the executor's thread."""

    def __init__(self, node: Node, settings: RecorderParameters, take: Take) -> None:
        self._node = node
        self._take = take
        self._quality = round(settings.jpeg_quality)
        self._latest: dict[Channel, bytes] = {}
        # A base takes one of two types, and nothing is heard by a subscription of the other.
        self._unknown = {"cmd_vel", "cmd_vel_raw"}
        self._subscribe_to_images(settings)
        channel = self._channel("instruction", String, is_latched=True)
        take_text = partial(self._take_new, channel)
        subscribe_to_text(node, "instruction", take_text, volatile_depth=_DEPTH, latched_depth=_DEPTH, raw=True)
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

    def _subscribe_to_images(self, settings: RecorderParameters) -> None:
        camera = settings.camera
        if camera.type is CompressedImage:
            self._subscribe(CompressedImage, camera.name, _IMAGES)
        else:
            compress = partial(self._compress, self._channel(settings.compressed_topic, CompressedImage))
            self._node.create_subscription(Image, camera.name, compress, _IMAGES)

    def _compress(self, channel: Channel, message: Image) -> None:
        try:
            rgb = to_rgb(message)
        except InputError as error:
            self._node.get_logger().warning(f"image not recorded: {error}", throttle_duration_sec=5.0)
            return
        data = array.array("B", to_jpeg(rgb, self._quality))
        self._take(channel, serialize_message(CompressedImage(header=message.header, format="jpeg", data=data)))


HASH = "bundle sha256"
_FEW = 8  # of the newest diagnostics: among them are some of each node


class RunMetadata:
    """Asks on `refresh`, in the background; `facts` is for any thread. A node that does not answer is named as such."""

    def __init__(self, node: Node) -> None:
        self._parameters = {name: RemoteParameters(node, name) for name in (INFERENCE, GUARD)}
        self._diagnostics: deque[bytes] = deque(maxlen=_FEW)

    def refresh(self) -> None:
        for each in self._parameters.values():
            each.refresh()

    def diagnose(self, message: bytes) -> None:
        """A serialised DiagnosticArray: most are of no interest, and are never read."""
        self._diagnostics.append(message)

    def facts(self) -> dict[str, str]:
        told = {
            f"{name} parameters": "not known: the node did not answer" if values is None else json.dumps(values)
            for name, values in [(name, each.values) for name, each in self._parameters.items()]
        }
        return told | {HASH: self._hash()}

    def _hash(self) -> str:
        for message in reversed([*self._diagnostics]):
            for status in deserialize_message(message, DiagnosticArray).status:
                for pair in status.values:
                    if pair.key == HASH:
                        return pair.value or "not known: the checkpoint is no bundle"
        return "not known: no diagnostics of a configured inference node"
