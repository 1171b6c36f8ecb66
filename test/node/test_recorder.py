"""simple_clip_lstm record: a real process on real topics, and the files that it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from ros_domain import LOCAL, own_domain
from sensor_msgs.msg import Image
from std_msgs.msg import String

from simple_clip_lstm_ros.cli.main import main
from simple_clip_lstm_ros.data.hdf5 import read_episode
from simple_clip_lstm_ros.node.messages import to_image

pytestmark = pytest.mark.ros


class Robot:
    """A camera that counts, and somebody who drives and speaks."""

    def __init__(self, domain: int, folder: Path, words: tuple[str, ...]) -> None:
        command = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main", "record", str(folder), *words]
        environment = os.environ | LOCAL | {"ROS_DOMAIN_ID": str(domain)}
        self.process = subprocess.Popen(
            ["timeout", "-s", "KILL", "60", *command], env=environment, stderr=subprocess.PIPE, text=True
        )
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node("robot", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        stamped = "--stamped" in words
        self._commands = self.node.create_publisher(TwistStamped if stamped else Twist, "cmd_vel", 10)
        self._images = self.node.create_publisher(Image, "image_raw", 10)
        self._texts = self.node.create_publisher(String, "instruction", 10)
        self._stamped = stamped
        self.shown = 0
        publishers = [self._commands, self._images, *([self._texts] if "--instruction-topic" in words else [])]
        end = time.monotonic() + 20.0
        while not all(each.get_subscription_count() for each in publishers):
            assert time.monotonic() < end and self.process.poll() is None, "no recorder"
            self._executor.spin_once(timeout_sec=0.05)

    def command(self, forward: float) -> None:
        message = TwistStamped() if self._stamped else Twist()
        getattr(message, "twist", message).linear.x = forward
        self._commands.publish(message)
        self.wait(0.2)

    def say(self, text: str) -> None:
        self._texts.publish(String(data=text))
        self.wait(0.2)

    def show(self, count: int, size: tuple[int, int] = (6, 8)) -> None:
        for _ in range(count):
            self.shown += 1
            picture = np.full((*size, 3), (self.shown, 0, 255), np.uint8)
            self._images.publish(to_image(picture, self.node.get_clock().now().to_msg(), "camera"))
            self.wait(0.05)
        self.wait(0.3)  # until all have arrived: what comes next is on another topic, and could overtake them

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def end(self) -> tuple[int, str]:
        """By Ctrl-C, which reaches the whole group; `timeout` passes it on."""
        self.process.send_signal(signal.SIGINT)
        _, told = self.process.communicate(timeout=20)
        return self.process.returncode, told

    def close(self) -> None:
        self.process.kill()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Robot]]:
    for name, value in LOCAL.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as cleanup:

        def start(*words: str) -> Robot:
            started = Robot(cleanup.enter_context(own_domain()), tmp_path, words)
            cleanup.callback(started.close)
            return started

        yield start


@pytest.mark.parametrize("words", [(), ("--stamped",)])
def test_a_drive_is_one_episode_without_instructions(robot, tmp_path: Path, words: tuple[str, ...]) -> None:
    started = robot(*words)
    started.show(3)  # nobody drives yet
    started.command(0.25)
    started.show(4)
    started.command(0.0)
    started.show(2)
    code, told = started.end()
    assert code == 0, told
    (path,) = tmp_path.glob("*.h5")
    assert f"{path}: 6 frames" in told
    episode = read_episode(path)
    assert episode.actions[:, 0].tolist() == [0.25] * 4 + [0.0] * 2 and not episode.actions[:, 1:].any()
    assert episode.frames()[:, 0, 0].tolist() == [[shown, 0, 255] for shown in range(4, 10)]
    assert episode.language_instruction is None and episode.action_units == "m/s, m/s, rad/s"
    assert (np.diff(episode.timestamps) > 0.04).all()


def test_each_instruction_is_an_episode_that_is_complete_when_it_ends(robot, tmp_path: Path) -> None:
    started = robot("--instruction-topic", "instruction")
    started.command(0.25)
    started.show(2)  # nothing is asked for yet
    started.say("go left")
    started.show(3)
    started.say("go right")
    started.show(2)
    assert len(list(tmp_path.glob("*.h5"))) == 1
    started.say("")
    assert len(list(tmp_path.glob("*.h5"))) == 2
    started.show(2)
    code, told = started.end()
    assert code == 0, told
    left, right = (read_episode(path) for path in sorted(tmp_path.glob("*.h5")))
    assert (left.language_instruction, len(left)) == ("go left", 3)
    assert (right.language_instruction, len(right)) == ("go right", 2)
    assert main(["episodes", str(tmp_path)]) == 0


def test_an_episode_that_cannot_be_written_on_is_told_and_the_next_one_is(robot, tmp_path: Path) -> None:
    started = robot("--instruction-topic", "instruction")
    started.command(0.25)
    started.say("go left")
    started.show(2)
    started.show(2, size=(4, 4))
    started.say("go right")
    started.show(2)
    code, told = started.end()
    assert code == 0 and "not uint8 [6, 8, 3]" in told
    (path,) = tmp_path.glob("*.h5")
    assert read_episode(path).language_instruction == "go right"
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_came_it_says_why(robot, tmp_path: Path) -> None:
    started = robot()
    started.show(3)
    code, told = started.end()
    assert code == 0 and "nothing was recorded: no command in it" in told and not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", str(tmp_path / "nowhere")]) == 1
    assert "is no folder" in capsys.readouterr().err
