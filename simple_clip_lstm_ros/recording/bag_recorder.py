"""Record drives as MCAP bags: the whole drive, or the last seconds before each stop of the robot."""

from __future__ import annotations

import array
import json
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from simple_clip_lstm_ros.data.image_decoding import to_jpeg, to_rgb
from simple_clip_lstm_ros.errors import ConfigError, EpisodeError, InputError
from simple_clip_lstm_ros.recording.drive_recorder import (
    GUARD,
    INFERENCE,
    DriveRecorder,
    SnapshotRecorder,
    StopDetector,
    bag_name,
)
from simple_clip_lstm_ros.recording.ring_buffer import Channel, Message, RingBuffer
from simple_clip_lstm_ros.ros import process
from simple_clip_lstm_ros.ros.camera_topic import CameraParameters
from simple_clip_lstm_ros.ros.parameters import ConfiguredNode, Range, parameter
from simple_clip_lstm_ros.ros.qos import images, subscribe_to_text
from simple_clip_lstm_ros.ros.remote_parameters import RemoteParameters


@dataclass(frozen=True)
class RecorderParameters(CameraParameters):
    """Validated parameters of the recorder. Raise ConfigError for an invalid value."""

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

MessageCallback = Callable[[Channel, bytes], None]


class RecordedTopics:
    """Subscribes to all recorded topics; passes each message with its channel to `on_message`.

    For use in the executor's thread only.
    """

    def __init__(self, node: Node, settings: RecorderParameters, on_message: MessageCallback) -> None:
        self._node = node
        self._on_message = on_message
        self._quality = round(settings.jpeg_quality)
        self._latest: dict[Channel, bytes] = {}
        # A base uses one of two types; a subscription of the other gets nothing.
        self._unknown_commands = {"cmd_vel", "cmd_vel_raw"}
        self._subscribe_to_images(settings)
        channel = self._channel("instruction", String, is_latched=True)
        on_text = partial(self._on_latched, channel)
        subscribe_to_text(node, "instruction", on_text, volatile_depth=_DEPTH, latched_depth=_DEPTH, raw=True)
        for topic in REASONS:
            self._subscribe(String, topic, _LATCHED, is_latched=True)
        self._subscribe(TwistStamped, "inference/action", _ALL)
        self._subscribe(DiagnosticArray, DIAGNOSTICS, _ALL)

    def subscribe_to_commands(self) -> None:
        """Subscribe to command topics whose type is known by now from their publishers. Call periodically."""
        for topic in sorted(self._unknown_commands):
            types = {each.topic_type for each in self._node.get_publishers_info_by_topic(topic)}
            for kind in types & _COMMANDS.keys():
                self._subscribe(_COMMANDS[kind], topic, _ALL)
                self._unknown_commands.discard(topic)

    def _subscribe(self, kind: Any, topic: str, profile: QoSProfile, *, is_latched: bool = False) -> None:
        channel = self._channel(topic, kind, is_latched)
        callback = self._on_latched if is_latched else self._on_message
        self._node.create_subscription(kind, topic, lambda data: callback(channel, data), profile, raw=True)

    def _on_latched(self, channel: Channel, data: bytes) -> None:
        """Pass on a message unless it repeats the last one: a latched text reaches both subscriptions."""
        if self._latest.get(channel) != data:
            self._latest[channel] = data
            self._on_message(channel, data)

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
        self._on_message(channel, serialize_message(CompressedImage(header=message.header, format="jpeg", data=data)))


HASH = "bundle sha256"
_NUM_DIAGNOSTICS = 8  # the newest; they include some of each node


class RunMetadata:
    """Metadata of a run: parameters of the nodes and the bundle's hash.

    `refresh` requests the parameters in the background. `as_dict` may be called from any thread; it marks nodes that do
    not respond.
    """

    def __init__(self, node: Node) -> None:
        self._parameters = {name: RemoteParameters(node, name) for name in (INFERENCE, GUARD)}
        self._diagnostics: deque[bytes] = deque(maxlen=_NUM_DIAGNOSTICS)

    def refresh(self) -> None:
        for each in self._parameters.values():
            each.refresh()

    def add_diagnostics(self, message: bytes) -> None:
        """Keep a serialized DiagnosticArray; most are never deserialized."""
        self._diagnostics.append(message)

    def as_dict(self) -> dict[str, str]:
        metadata = {
            f"{name} parameters": "not known: the node did not answer" if values is None else json.dumps(values)
            for name, values in [(name, each.values) for name, each in self._parameters.items()]
        }
        return metadata | {HASH: self._hash()}

    def _hash(self) -> str:
        for message in reversed([*self._diagnostics]):
            for status in deserialize_message(message, DiagnosticArray).status:
                for pair in status.values:
                    if pair.key == HASH:
                        return pair.value or "not known: the checkpoint is no bundle"
        return "not known: no diagnostics of a configured inference node"


_PERIOD = 0.2  # s
_REFRESH_EVERY = 10  # periods
_NICENESS = 10
_THROTTLE = 5.0  # s between warnings


class BagRecorder(ConfiguredNode[RecorderParameters]):
    """Records until it is stopped.

    Raise ConfigError for an invalid parameter, EpisodeError for a folder that is missing or not writable.
    """

    def __init__(self, given: Mapping[str, object] = MappingProxyType({}), namespace: str | None = None) -> None:
        super().__init__("recorder", RecorderParameters, given, namespace)
        folder = Path(self.settings.folder).expanduser()
        if not self.settings.folder or not os.access(folder, os.W_OK) or not folder.is_dir():
            named = self.settings.folder or "none is named"
            raise EpisodeError(f"folder: {named}: name one that is there and can be written to")
        os.nice(_NICENESS)
        self._stop_detector = StopDetector()
        self._metadata = RunMetadata(self)
        self._reasons = {self.resolve_topic_name(topic): node for topic, node in REASONS.items()}
        self._num_periods = 0
        self._recorder: DriveRecorder | SnapshotRecorder
        is_snapshot = bool(self.settings.last)
        self._recorder = self._record_snapshots(folder) if is_snapshot else self._record_drive(folder)
        self._topics = RecordedTopics(self, self.settings, self._on_message)
        # Use the steady clock: a paused simulation must not delay writing.
        self.create_timer(_PERIOD, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def stop(self, why: str) -> None:
        """Return when everything is written."""
        self._recorder.close()

    def _record_drive(self, folder: Path) -> DriveRecorder:
        path = folder / bag_name("drive")
        self.get_logger().info(f"recording into {path}; Ctrl-C ends it")
        return DriveRecorder(path, self._max_bytes, self._metadata.as_dict, self._log_outcome)

    def _record_snapshots(self, folder: Path) -> SnapshotRecorder:
        seconds = self.settings.last
        ring = RingBuffer(seconds, self._max_bytes)
        recorder = SnapshotRecorder(folder, ring, self._metadata.as_dict, self._log_outcome)
        service = f"{self.get_name()}/dump"
        self.create_service(Trigger, service, partial(self._on_dump, recorder))
        on_call = f"{self.resolve_service_name(service)} is called"
        on_event = f"they go into {folder} when the robot is stopped, or when {on_call}"
        self.get_logger().info(f"keeping the last {seconds:g} s; {on_event}")
        return recorder

    @property
    def _max_bytes(self) -> int:
        return round(self.settings.memory_mb * 1e6)

    def _log_outcome(self, outcome: str | EpisodeError) -> None:
        if isinstance(outcome, EpisodeError):
            self.get_logger().error(str(outcome))
        else:
            self.get_logger().info(outcome)

    def _on_message(self, channel: Channel, data: bytes) -> None:
        self._recorder.add(Message(channel, self.get_clock().now().nanoseconds, data))
        if channel.topic == DIAGNOSTICS:
            self._metadata.add_diagnostics(data)
        elif channel.topic in self._reasons:
            text = deserialize_message(data, String).data
            if event := self._stop_detector.update(self._reasons[channel.topic], text):
                self._recorder.trigger(event)

    def _on_timer(self) -> None:
        self._topics.subscribe_to_commands()
        self._recorder.write_if_due()
        if self._num_periods % _REFRESH_EVERY == 0:
            self._metadata.refresh()
        self._num_periods += 1
        if warning := self._recorder.loss_warning:
            self.get_logger().warning(warning, throttle_duration_sec=_THROTTLE)

    async def _on_dump(
        self, recorder: SnapshotRecorder, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Respond when the bag is written, without blocking the executor."""
        if recorder.is_writing:
            response.message = "a bag is being written: ask again when it is"
            return response
        done = Future()

        def on_written(outcome: str | EpisodeError) -> None:
            done.set_result(outcome)
            self.executor.wake()

        recorder.write("asked", on_written)
        outcome = await done
        response.success, response.message = not isinstance(outcome, EpisodeError), str(outcome)
        return response


def main() -> NoReturn:
    process.run(BagRecorder)


if __name__ == "__main__":
    main()
