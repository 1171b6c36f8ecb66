"""Recorder of a live drive as episodes, for `simple_clip_lstm record`."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node
from std_msgs.msg import String

from simple_clip_lstm_ros.data.episode_segmenter import DriveTopics, EpisodeSegmenter, Sample
from simple_clip_lstm_ros.data.hdf5 import SUFFIX, EpisodeWriter
from simple_clip_lstm_ros.errors import EpisodeError
from simple_clip_lstm_ros.ros.camera_topic import CameraTopic
from simple_clip_lstm_ros.ros.qos import images, subscribe_to_text


class EpisodeRecorder(Node):
    """Writes episodes into `folder` until it is stopped; an ended episode is complete on disk.

    `rate` is the frame rate in Hz, None means every image. Images on an image topic that ends in /compressed are
    compressed. An episode that cannot be written is left out, with the reason in the log.
    """

    def __init__(self, folder: Path, topics: DriveTopics, *, rate: float | None, stamped: bool) -> None:
        super().__init__("recorder")
        self._folder = folder
        self._segmenter = EpisodeSegmenter(rate, instructed=topics.instruction is not None)
        self._episode: ExitStack | None = None
        self._writer: EpisodeWriter | None = None
        self._number = 0
        # Shared by the executor's thread and the thread that ends the process.
        self._lock = threading.Lock()
        self._is_stopped = False
        camera = CameraTopic.from_name(topics.image)
        self.create_subscription(camera.type, camera.name, self._on_image, images(10))
        self.create_subscription(TwistStamped if stamped else Twist, topics.command, self._segmenter.set_command, 10)
        if topics.instruction is not None:
            subscribe_to_text(self, topics.instruction, self._on_instruction)
        self.get_logger().info(f"recording {topics.image} and {topics.command} into {folder}; Ctrl-C ends it")

    def stop(self, why: str) -> None:
        with self._lock:
            self._is_stopped = True
            self._end()
        if not self._number:
            self.get_logger().warning(f"nothing was recorded: {self._segmenter.empty_reason()}")

    def _on_instruction(self, message: String) -> None:
        with self._lock:
            self._segmenter.set_instruction(message.data)
            if not message.data.strip():
                self._end()

    def _on_image(self, message: Any) -> None:
        with self._lock:
            sample = None if self._is_stopped else self._segmenter.add_image(message, time.time_ns())
            if sample is not None:
                self._record(sample)

    def _record(self, sample: Sample) -> None:
        try:
            if sample.number != self._number:
                self._end()
                self._begin(sample)
            if self._writer is not None:
                self._writer.add(sample.frame, sample.action, sample.stamp)
        except EpisodeError as error:
            self._give_up(error)

    def _begin(self, sample: Sample) -> None:
        self._number = sample.number
        path = self._folder / f"episode_{time.strftime('%Y%m%d_%H%M%S')}_{sample.number:03}{SUFFIX}"
        episode = ExitStack()
        self._writer = episode.enter_context(EpisodeWriter(path, language_instruction=sample.instruction))
        self._episode = episode

    def _end(self) -> None:
        episode, self._episode = self._episode, None
        writer, self._writer = self._writer, None
        if episode is None or writer is None:
            return
        try:
            episode.close()
        except EpisodeError as error:
            self.get_logger().error(str(error))
        else:
            self.get_logger().info(f"{writer.path}: {len(writer)} frames")

    def _give_up(self, error: EpisodeError) -> None:
        """Log the error, remove this episode and skip the rest of it."""
        self.get_logger().error(str(error))
        episode, self._episode = self._episode, None
        self._writer = None
        if episode is not None:
            episode.__exit__(type(error), error, error.__traceback__)
