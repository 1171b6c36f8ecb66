"""Recorder of drives as MCAP bags: whole drives, or the last seconds before each stop.

It runs as its own process, at low priority, so that it takes no CPU time from the nodes that drive.
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
