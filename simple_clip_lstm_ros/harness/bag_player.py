"""A node that plays a recorded drive to the real inference node in simulated time, and compares the commands."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from geometry_msgs.msg import Twist
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.data.drive_events import (
    BagDrive,
    CommandEvent,
    DriveEvent,
    ImageEvent,
    InstructionEvent,
    ReasonEvent,
    TopicSelection,
)
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.evaluation.replay import MAX_PAUSE, ReplayTick
from simple_clip_lstm_ros.evaluation.replay_plots import VIDEO, VideoWriter, make_folder, write_files
from simple_clip_lstm_ros.evaluation.replay_result import ReplayResult
from simple_clip_lstm_ros.ros import process
from simple_clip_lstm_ros.ros.camera_topic import to_image
from simple_clip_lstm_ros.ros.conversions import to_time
from simple_clip_lstm_ros.ros.parameters import ConfiguredNode, Parameters, Range, parameter
from simple_clip_lstm_ros.ros.qos import LATCHED


@dataclass(frozen=True)
class PlayerParameters(Parameters):
    """The parameters of this node. Raises ConfigError if a value is invalid."""

    bag: str = parameter("", "rosbag2 (SQLite or MCAP) to play: its folder or its file")
    out: str = parameter("replay", "folder for pictures and replay.json; it is made")
    rate: float = parameter(1.0, "times as fast as it was recorded", within=Range(0.0, 100.0))
    instruction: str = parameter("", "in place of those that were given")
    image_topic: str = parameter("", "in the bag, if it has several cameras")
    command_topic: str = parameter("", "in the bag, to compare with; empty: cmd_vel_raw, else cmd_vel")
    instruction_topic: str = parameter("", "in the bag, if it has several")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.bag:
            raise ConfigError("bag is empty; set it to the folder or file of a recording")


_TICK = 0.01  # s of the recording between two messages on /clock
_MAX_LAG = 0.05  # s of the wall clock; a smaller lag is caught up, a larger one delays the rest
_FINAL_WAIT = 0.5  # s of the wall clock for the last commands to arrive


class BagPlayer(ConfiguredNode[PlayerParameters]):
    """Plays a bag. Raises ConfigError for an invalid parameter, EpisodeError for a bag that cannot be played."""

    def __init__(self, given: Mapping[str, object] = MappingProxyType({}), namespace: str | None = None) -> None:
        super().__init__("bag_player", PlayerParameters, given, namespace)
        topics = (self.settings.image_topic, self.settings.command_topic, self.settings.instruction_topic)
        self._drive = BagDrive(Path(self.settings.bag).expanduser(), TopicSelection(*(name or None for name in topics)))
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10)
        # Reliable: no image of a recording may be lost, however fast it is played.
        self._images = self.create_publisher(Image, "image_raw", QoSProfile(depth=10))
        self._instructions = self.create_publisher(String, "instruction", LATCHED)
        self.create_subscription(Twist, "cmd_vel_raw", self._on_command, 50)
        self.create_subscription(String, "inference/reason", self._on_reason, LATCHED)
        self._result = ReplayResult(tuple(Limits().max_velocity))
        self._lock = threading.Lock()  # between the executor's thread and the player's
        self._now = self._due = 0.0
        self._image: ImageEvent | None = None
        self._recorded: CommandEvent | None = None
        self._recorded_reason = self._instruction = ""
        self._reason = Reason.INACTIVE
        self._stopping = threading.Event()
        self._video: VideoWriter | None = None
        self._thread = threading.Thread(target=self._play, name="player")
        self._thread.start()

    def stop(self, why: str) -> None:
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # Called in the player's thread.

    def _play(self) -> None:
        out = Path(self.settings.out).expanduser()
        make_folder(out)
        self._wait_for_node()
        with ExitStack() as cleanup:
            self._video = cleanup.enter_context(VideoWriter(out / VIDEO))
            if self.settings.instruction:
                self._publish_instruction(self.settings.instruction)
            for event in self._drive:
                if self._stopping.is_set():
                    break
                self._advance(event.time)
                self._publish_event(event)
            self._stopping.wait(_FINAL_WAIT)
            with self._lock:
                self._video = None
        self._write_results(out)
        # Ends as on Ctrl-C; process.run does the rest.
        os.kill(os.getpid(), signal.SIGINT)

    def _wait_for_node(self) -> None:
        while not self._stopping.wait(0.1) and not (
            self._images.get_subscription_count() and self._instructions.get_subscription_count()
        ):
            self.get_logger().info("waiting for an active inference node", throttle_duration_sec=5.0)

    def _advance(self, until: float) -> None:
        """Advance the clock to `until` (s) at the rate of playback.

        Jump at once to a time in the past or far ahead.
        """
        if not 0.0 <= until - self._now <= MAX_PAUSE:
            self._publish_clock(until)
        while (remaining := until - self._now) > 0.0 and not self._stopping.is_set():
            step = min(remaining, _TICK)
            # A schedule of due times, since every sleep is somewhat too long.
            self._due = max(self._due + step / self.settings.rate, time.monotonic() - _MAX_LAG)
            time.sleep(max(0.0, self._due - time.monotonic()))
            self._publish_clock(self._now + step)

    def _publish_clock(self, now: float) -> None:
        self._now = now
        self._clock_publisher.publish(Clock(clock=to_time(now)))

    def _publish_event(self, event: DriveEvent) -> None:
        if isinstance(event, ImageEvent):
            self._image = event
            self._images.publish(to_image(event.frame, to_time(event.stamp), "camera"))
        elif isinstance(event, InstructionEvent) and not self.settings.instruction:
            self._publish_instruction(event.instruction)
        elif isinstance(event, CommandEvent):
            self._recorded = event
        elif isinstance(event, ReasonEvent):
            self._recorded_reason = event.reason

    def _publish_instruction(self, text: str) -> None:
        self._instruction = text
        self._instructions.publish(String(data=text))

    def _write_results(self, out: Path) -> None:
        document = {"recording": self.settings.bag, "compared with": self._drive.commands, **self._result.as_plain()}
        write_files(out, self._result, document)
        self.get_logger().info(f"{document['seconds']:.1f} s played; pictures and replay.json are in {out}")

    # Called in the executor's thread.

    def _on_reason(self, message: String) -> None:
        self._reason = Reason.__members__.get(message.data.partition(":")[0], self._reason)

    def _on_command(self, message: Twist) -> None:
        image, recorded = self._image, self._recorded
        with self._lock:
            if self._video is None or not self._now:
                return
            tick = ReplayTick(
                self._now,
                Velocity.from_twist(message),
                self._reason,
                recorded.velocity if recorded else None,
                self._recorded_reason,
                self._instruction,
                image.frame if image else None,
            )
            self._video.write_tick(tick, self._result.add_tick(tick))


def main() -> NoReturn:
    process.run(BagPlayer)


if __name__ == "__main__":
    main()
