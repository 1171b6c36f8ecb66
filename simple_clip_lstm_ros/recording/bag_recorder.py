"""Records drives as MCAP bags: each as a whole, or the last moments before the robot was stopped.

A process of its own, and a polite one: it takes no time from the nodes that drive.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message
from rclpy.task import Future
from std_msgs.msg import String
from std_srvs.srv import Trigger

from simple_clip_lstm_ros.errors import EpisodeError
from simple_clip_lstm_ros.recording.drive_recorder import DriveRecorder, SnapshotRecorder, bag_name
from simple_clip_lstm_ros.recording.recorded_topics import (
    DIAGNOSTICS,
    REASONS,
    RecordedTopics,
    RecorderParameters,
    RunMetadata,
)
from simple_clip_lstm_ros.recording.ring_buffer import Channel, Message, RingBuffer
from simple_clip_lstm_ros.recording.stop_detector import StopDetector
from simple_clip_lstm_ros.ros import process
from simple_clip_lstm_ros.ros.parameters import ConfiguredNode

_PERIOD = 0.2  # s
_ASK_EVERY = 10  # of these
_NICENESS = 10
_THROTTLE = 5.0  # s between warnings


class BagRecorder(ConfiguredNode[RecorderParameters]):
    """Records until it is stopped.

    Raises ConfigError for a parameter that is not allowed, EpisodeError for a folder that is not there.
    """

    def __init__(self, given: Mapping[str, object] = MappingProxyType({}), namespace: str | None = None) -> None:
        super().__init__("recorder", RecorderParameters, given, namespace)
        folder = Path(self.settings.folder).expanduser()
        if not self.settings.folder or not os.access(folder, os.W_OK) or not folder.is_dir():
            named = self.settings.folder or "none is named"
            raise EpisodeError(f"folder: {named}: name one that is there and can be written to")
        os.nice(_NICENESS)
        self._alarm = StopDetector()
        self._metadata = RunMetadata(self)
        self._reasons = {self.resolve_topic_name(topic): node for topic, node in REASONS.items()}
        self._looks = 0
        self._keeper: DriveRecorder | SnapshotRecorder
        self._keeper = self._last_moments(folder) if self.settings.last else self._whole_drive(folder)
        self._profile = RecordedTopics(self, self.settings, self._take)
        # By the steady clock: a simulation that stands still must keep nobody from writing.
        self.create_timer(_PERIOD, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def stop(self, why: str) -> None:
        """Returns when all is written."""
        self._keeper.close()

    def _whole_drive(self, folder: Path) -> DriveRecorder:
        path = folder / bag_name("drive")
        self.get_logger().info(f"recording into {path}; Ctrl-C ends it")
        return DriveRecorder(path, self._most_bytes, self._metadata.facts, self._tell)

    def _last_moments(self, folder: Path) -> SnapshotRecorder:
        seconds = self.settings.last
        keeper = SnapshotRecorder(folder, RingBuffer(seconds, self._most_bytes), self._metadata.facts, self._tell)
        service = f"{self.get_name()}/dump"
        self.create_service(Trigger, service, partial(self._on_dump, keeper))
        called = f"{self.resolve_service_name(service)} is called"
        asked = f"they go into {folder} when the robot is stopped, or when {called}"
        self.get_logger().info(f"keeping the last {seconds:g} s; {asked}")
        return keeper

    @property
    def _most_bytes(self) -> int:
        return round(self.settings.memory_mb * 1e6)

    def _tell(self, outcome: str | EpisodeError) -> None:
        if isinstance(outcome, EpisodeError):
            self.get_logger().error(str(outcome))
        else:
            self.get_logger().info(outcome)

    def _take(self, channel: Channel, data: bytes) -> None:
        self._keeper.add(Message(channel, self.get_clock().now().nanoseconds, data))
        if channel.topic == DIAGNOSTICS:
            self._metadata.diagnose(data)
        elif channel.topic in self._reasons:
            text = deserialize_message(data, String).data
            if event := self._alarm.update(self._reasons[channel.topic], text):
                self._keeper.trigger(event)

    def _look(self) -> None:
        self._profile.look()
        self._keeper.look()
        if self._looks % _ASK_EVERY == 0:
            self._metadata.refresh()
        self._looks += 1
        if lost := self._keeper.lost:
            self.get_logger().warning(lost, throttle_duration_sec=_THROTTLE)

    async def _on_dump(
        self, keeper: SnapshotRecorder, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Answers when the bag is written, and keeps nobody waiting meanwhile."""
        if keeper.is_writing:
            response.message = "a bag is being written: ask again when it is"
            return response
        done = Future()

        def written(outcome: str | EpisodeError) -> None:
            done.set_result(outcome)
            self.executor.wake()

        keeper.write("asked", written)
        outcome = await done
        response.success, response.message = not isinstance(outcome, EpisodeError), str(outcome)
        return response


def main() -> NoReturn:
    process.run(BagRecorder)


if __name__ == "__main__":
    main()
