"""A robot for the tests of the recorders: a camera that counts, and somebody who drives and speaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Twist, TwistStamped
from process_groups import kill_group
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_domain import LOCAL
from sensor_msgs.msg import Image
from std_msgs.msg import String

from simple_clip_lstm_ros.ros.camera_topic import to_image

REASONS = ("inference/reason", "velocity_guard/reason")
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class RecordedRobot:
    """And `simple_clip_lstm record FOLDER WORDS...` as a process that listens to it.

    `stamped`: its commands are TwistStamped; `largest`: bytes that a file of the recorder may have.
    """

    def __init__(
        self, domain: int, folder: Path, words: tuple[str, ...], *, stamped: bool = False, largest: int | None = None
    ) -> None:
        command = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main", "record", str(folder), *words]
        environment = os.environ | LOCAL | {"ROS_DOMAIN_ID": str(domain)}
        limit = [] if largest is None else ["prlimit", f"--fsize={largest}"]
        self.process = subprocess.Popen(
            ["timeout", "-s", "KILL", "60", *limit, *command], env=environment, stderr=subprocess.PIPE, text=True
        )
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node("robot", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._stamped = stamped
        create = self.node.create_publisher
        self._commands = create(TwistStamped if self._stamped else Twist, "cmd_vel", 10)
        self._images = create(Image, "image_raw", 10)
        self._texts = create(String, "instruction", 10)
        self._reasons = {topic: create(String, topic, _LATCHED) for topic in REASONS}
        self.shown = 0
        heard = [self._commands, self._images]
        if "hdf5" not in words:
            heard += [self._texts, *self._reasons.values()]
        elif "--instruction-topic" in words:
            heard.append(self._texts)
        self.until(lambda: all(each.get_subscription_count() for each in heard), "no recorder")
        self.wait(0.5)  # a publisher knows of a subscription before that knows of the publisher, and hears it

    def command(self, forward: float) -> None:
        message = TwistStamped() if self._stamped else Twist()
        getattr(message, "twist", message).linear.x = forward
        self._commands.publish(message)
        self.wait(0.2)

    def say(self, text: str) -> None:
        self._texts.publish(String(data=text))
        self.wait(0.2)

    def give_reason(self, topic: str, text: str) -> None:
        self._reasons[topic].publish(String(data=text))
        self.wait(0.2)

    def show(self, count: int, size: tuple[int, int] = (6, 8)) -> None:
        for _ in range(count):
            self.shown += 1
            self.publish(np.full((*size, 3), (self.shown, 0, 255), np.uint8))
        self.wait(0.3)  # until all have arrived: what comes next is on another topic, and could overtake them

    def publish(self, picture: np.ndarray) -> None:
        self._images.publish(to_image(picture, self.node.get_clock().now().to_msg(), "camera"))
        self.wait(0.05)

    def service(self, kind: Any, name: str) -> Callable[[], Any]:
        """Once it is known here, which takes its time; to be called without arguments for its answer."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, f"no {name}")

        def call() -> Any:
            future = client.call_async(kind.Request())
            self.until(future.done, f"{name} does not answer")
            return future.result()

        return call

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def until(self, condition: Any, otherwise: str) -> None:
        end = time.monotonic() + 20.0
        while not condition():
            assert time.monotonic() < end and self.process.poll() is None, otherwise
            self._executor.spin_once(timeout_sec=0.05)

    def end(self) -> tuple[int, str]:
        """By Ctrl-C, which reaches the whole group; `timeout` passes it on."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        _, told = self.process.communicate(timeout=20)
        return self.process.returncode, told

    def close(self) -> None:
        kill_group(self.process)
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)
