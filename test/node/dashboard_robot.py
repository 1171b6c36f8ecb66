"""A robot for the tests of the dashboard's process: its camera, overlay and commands, and whatever runs beside it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from dashboard_bench import free_port, spun
from geometry_msgs.msg import TwistStamped
from process_groups import kill_group
from rclpy.qos import qos_profile_sensor_data
from ros_domain import LOCAL, own_domain
from sensor_msgs.msg import Image
from std_msgs.msg import String

from simple_clip_lstm_ros.ros.camera_topic import to_image
from simple_clip_lstm_ros.ros.conversions import to_time
from simple_clip_lstm_ros.ros.qos import LATCHED

ROOT = Path(__file__).parents[2]
SPACE = "robot7"


class Robot:
    """Camera, overlay and commands in the namespace robot7; nodes as processes that end with it."""

    def __init__(self, cleanup: ExitStack, folder: Path) -> None:
        self.environment = os.environ | LOCAL | {"ROS_LOG_DIR": str(folder / "ros")}
        domain = cleanup.enter_context(own_domain())
        self.environment |= {"ROS_DOMAIN_ID": str(domain)}
        self._folder = folder
        self._cleanup = cleanup
        self.port = free_port()
        self.node = spun(cleanup, "robot", SPACE, domain)
        self.camera = self.node.create_publisher(Image, "image_raw", qos_profile_sensor_data)
        self.overlay = self.node.create_publisher(Image, "inference/overlay", 1)
        self.commands = self.node.create_publisher(TwistStamped, "cmd_vel_raw", 1)
        self.instructions: list[str] = []
        self.node.create_subscription(String, "instruction", lambda m: self.instructions.append(m.data), LATCHED)

    def start(self, module: str, *words: str) -> subprocess.Popen[str]:
        """Its stdout is a pipe, its stderr a file."""
        command = [sys.executable, "-m", f"simple_clip_lstm_ros.{module}", *words]
        with (self._folder / module).open("w") as log:
            process = subprocess.Popen(
                ["timeout", "-s", "KILL", "60", *command],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._cleanup.callback(kill_group, process)
        return process

    def dashboard(self, *words: str) -> subprocess.Popen[str]:
        process = self.start("cli.main", "dashboard", "--namespace", SPACE, "--port", str(self.port), *words)
        assert process.stdout
        self.login_url = process.stdout.readline()
        assert self.login_url, self.log("cli.main")
        return process

    def log(self, module: str) -> str:
        return (self._folder / module).read_text()

    def visit(self, act: Callable[[aiohttp.ClientSession, str], Awaitable[Any]]) -> Any:
        async def visit() -> Any:
            jar = aiohttp.CookieJar(unsafe=True)  # from addresses too
            async with aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(20)) as browser:
                return await asyncio.wait_for(act(browser, f"http://127.0.0.1:{self.port}/"), 20)

        return asyncio.run(visit())

    def picture(self, shade: int) -> Image:
        return to_image(np.full((48, 64, 3), shade, np.uint8), to_time(time.time()), "camera")
