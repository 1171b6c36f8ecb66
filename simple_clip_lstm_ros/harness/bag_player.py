"""The parameters of the player of recordings, each described once."""

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
    """Values of all parameters, checked. Raises ConfigError."""

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


_TICK = 0.01  # s of the recording between two times of the clock
_LAG = 0.05  # s of the wall clock that are caught up; of more, the player is as late as it is
_LAST = 0.5  # s of the wall clock, for the last commands to arrive


class BagPlayer(ConfiguredNode[PlayerParameters]):
    """Raises ConfigError for a parameter that is not allowed, EpisodeError for a bag that cannot be played."""

    def __init__(self, given: Mapping[str, object] = MappingProxyType({}), namespace: str | None = None) -> None:
        super().__init__("bag_player", PlayerParameters, given, namespace)
        named = (self.settings.image_topic, self.settings.command_topic, self.settings.instruction_topic)
        self._drive = BagDrive(Path(self.settings.bag).expanduser(), TopicSelection(*(name or None for name in named)))
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10)
        # Reliable: of a recording no picture is to be lost, however fast it is played.
        self._images = self.create_publisher(Image, "image_raw", QoSProfile(depth=10))
        self._instructions = self.create_publisher(String, "instruction", LATCHED)
        self.create_subscription(Twist, "cmd_vel_raw", self._on_command, 50)
        self.create_subscription(String, "inference/reason", self._on_reason, LATCHED)
        self._found = ReplayResult(tuple(Limits().max_velocity))
        self._meeting = threading.Lock()  # of the executor's thread and the player's
        self._now = self._due = 0.0
        self._picture: ImageEvent | None = None
        self._recorded: CommandEvent | None = None
        self._recorded_reason = self._instruction = ""
        self._reason = Reason.INACTIVE
        self._ends = threading.Event()
        self._film: VideoWriter | None = None
        self._playing = threading.Thread(target=self._play, name="player")
        self._playing.start()

    def stop(self, why: str) -> None:
        self._ends.set()
        if threading.current_thread() is not self._playing:
            self._playing.join()

    # Of the player's thread.

    def _play(self) -> None:
        out = Path(self.settings.out).expanduser()
        make_folder(out)
        self._wait_for_the_node()
        with ExitStack() as cleanup:
            self._film = cleanup.enter_context(VideoWriter(out / VIDEO))
            if self.settings.instruction:
                self._instruct(self.settings.instruction)
            for happening in self._drive:
                if self._ends.is_set():
                    break
                self._advance(happening.time)
                self._show(happening)
            self._ends.wait(_LAST)
            with self._meeting:
                self._film = None
        self._conclude(out)
        # Ends as on Ctrl-C: process.run sees to the rest.
        os.kill(os.getpid(), signal.SIGINT)

    def _wait_for_the_node(self) -> None:
        while not self._ends.wait(0.1) and not (
            self._images.get_subscription_count() and self._instructions.get_subscription_count()
        ):
            self.get_logger().info("waiting for an active inference node", throttle_duration_sec=5.0)

    def _advance(self, until: float) -> None:
        """The clock, as fast as `rate` says; a jump, back or far ahead, at once."""
        if not 0.0 <= until - self._now <= MAX_PAUSE:
            self._tell_time(until)
        while (left := until - self._now) > 0.0 and not self._ends.is_set():
            step = min(left, _TICK)
            # By a schedule, since a sleep is always somewhat longer than it was to be.
            self._due = max(self._due + step / self.settings.rate, time.monotonic() - _LAG)
            time.sleep(max(0.0, self._due - time.monotonic()))
            self._tell_time(self._now + step)

    def _tell_time(self, now: float) -> None:
        self._now = now
        self._clock_publisher.publish(Clock(clock=to_time(now)))

    def _show(self, happening: DriveEvent) -> None:
        if isinstance(happening, ImageEvent):
            self._picture = happening
            self._images.publish(to_image(happening.frame, to_time(happening.stamp), "camera"))
        elif isinstance(happening, InstructionEvent) and not self.settings.instruction:
            self._instruct(happening.instruction)
        elif isinstance(happening, CommandEvent):
            self._recorded = happening
        elif isinstance(happening, ReasonEvent):
            self._recorded_reason = happening.reason

    def _instruct(self, text: str) -> None:
        self._instruction = text
        self._instructions.publish(String(data=text))

    def _conclude(self, out: Path) -> None:
        document = {"recording": self.settings.bag, "compared with": self._drive.commands, **self._found.as_plain()}
        write_files(out, self._found, document)
        self.get_logger().info(f"{document['seconds']:.1f} s played; pictures and replay.json are in {out}")

    # Of the executor's thread.

    def _on_reason(self, message: String) -> None:
        self._reason = Reason.__members__.get(message.data.partition(":")[0], self._reason)

    def _on_command(self, message: Twist) -> None:
        picture, recorded = self._picture, self._recorded
        with self._meeting:
            if self._film is None or not self._now:
                return
            moment = ReplayTick(
                self._now,
                Velocity.from_twist(message),
                self._reason,
                recorded.velocity if recorded else None,
                self._recorded_reason,
                self._instruction,
                picture.frame if picture else None,
            )
            self._film.write_tick(moment, self._found.add_tick(moment))


def main() -> NoReturn:
    process.run(BagPlayer)


if __name__ == "__main__":
    main()
