"""Measure the dashboard's resources, and the delay from a press of its stop button to the base.

    python benchmarks/dashboard.py

Runs the real node with builtin:tiny, guard, dashboard, and a camera of photographs with config/fastdds.xml (10 images a
second) as separate processes. Prints two Markdown tables. A viewer is a websocket client that acknowledges images like
the page. The delay ends at the first zero on cmd_vel; it begins with the message, or with the event on the button of
the page in Chromium (if that and playwright are installed). --json gives one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import rclpy
from geometry_msgs.msg import Twist
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from watch import machine

from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.harness.node_harness import NAMESPACE, NodeHarness

PROFILE = Path(__file__).parents[1] / "config" / "fastdds.xml"
SIZES = ("640x480", "1280x720")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

_TIMEOUT = 20.0  # s
_SETTLE = 3.0  # s after a viewer connects
# The offset makes the robot move on every image.
_DRIVING = {"action_scale": "[0.05, 0.05]", "action_offset": "[0.2, 0.0]"}


@dataclass
class Row:
    """One row of the table of resources; its fields are JSON keys."""

    viewer: str
    pictures: float  # a second
    resident: float  # MB
    own: float  # MB, that no other process shares
    cpu: float  # of a core

    def __str__(self) -> str:
        memory = f"{self.resident:.0f} | {self.own:.0f}"
        return f"| {self.viewer} | {self.pictures:.1f} | {memory} | {self.cpu:.1%} |"


@dataclass
class Presses:
    """Delays of one kind of press; its fields are JSON keys."""

    by: str
    count: int
    p50: float  # ms
    p99: float
    worst: float

    def __str__(self) -> str:
        return f"| {self.by} | {self.count} | {self.p50:.0f} | {self.p99:.0f} | {self.worst:.0f} |"


class Base:
    """Subscribes to cmd_vel as a base does, in a thread of its own."""

    def __init__(self) -> None:
        self.is_moving = False
        self.zero_at = 0.0  # s of the wall clock; the last stop command after motion
        self._context = Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("base", context=self._context, namespace=NAMESPACE)
        self._node.create_subscription(Twist, "cmd_vel", self._on_command, 1)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._spinner = threading.Thread(target=self._executor.spin)
        self._spinner.start()

    def _on_command(self, command: Twist) -> None:
        moves = bool(command.linear.x or command.angular.z)
        if self.is_moving and not moves:
            self.zero_at = time.time()
        self.is_moving = moves

    def close(self) -> None:
        self._executor.shutdown()
        self._spinner.join()
        self._node.destroy_node()
        self._context.shutdown()


class Rig:
    """The running processes: base, address and process of the dashboard."""

    def __init__(self, base: Base, address: str, dashboard: psutil.Process) -> None:
        self.base = base
        self.address = address
        self.dashboard = dashboard

    def measure(self, viewer: str, seconds: float, count_images: Callable[[], int]) -> Row:
        """Measure the dashboard for `seconds`; `count_images` returns the number of images so far."""
        before, used, begin = count_images(), cpu_seconds(self.dashboard), time.monotonic()
        time.sleep(seconds)
        duration = time.monotonic() - begin
        memory = self.dashboard.memory_full_info()
        cpu = (cpu_seconds(self.dashboard) - used) / duration
        return Row(viewer, (count_images() - before) / duration, memory.rss / 1e6, memory.uss / 1e6, cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each row")
    parser.add_argument("--presses", type=int, default=100, help="of each kind")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES, help="of the pictures; presses at the last")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    # A domain of its own: no tests, other benchmarks or robots of this network.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 101))
    rows: list[Row] = []
    presses: list[Presses] = []
    for size in args.sizes:
        with rig(*map(int, size.split("x"))) as running:
            if not rows:
                rows.append(running.measure("none", args.seconds, lambda: 0))
            rows.append(asyncio.run(_measure_viewer(running, f"one, {size}", args.seconds)))
            if size == args.sizes[-1]:
                presses.append(asyncio.run(_press_by_websocket(running, args.presses)))
                presses += _press_in_browser(running, args.presses)
    if args.json:
        document = {"rows": [asdict(row) for row in rows], "presses": [asdict(each) for each in presses]}
        print(json.dumps(document, indent=2))
        return
    print("| viewer | pictures a second | resident MB | its own MB | CPU |\n|---|---|---|---|---|", *rows, sep="\n")
    print("\n| pressed by | times | p50 ms | p99 ms | worst ms |\n|---|---|---|---|---|", *presses, sep="\n")
    print(f"\n{describe_machine()}")


@contextmanager
def driving(width: int, height: int) -> Iterator[NodeHarness]:
    """Run camera, node and guard; the robot moves."""
    with tempfile.TemporaryDirectory() as logs:
        profile = dict.fromkeys(("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"), str(PROFILE))
        node = {"checkpoint": resolve_path("builtin:tiny"), "device": "cpu", "instruction": "go", **_DRIVING}
        os.environ.update(profile)
        harness = NodeHarness(node, camera={"width": width, "height": height}, threads=1, logs=Path(logs))
        for name in profile:  # the dashboard runs without a profile, as in the launch file
            del os.environ[name]
        with harness:
            harness.start()
            yield harness


@contextmanager
def dashboard() -> Iterator[tuple[psutil.Process, str]]:
    """Run the dashboard; yield its process and its URL. Raise RuntimeError if it does not start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "simple_clip_lstm_ros.dashboard.dashboard_node", "--ros-args"]
    command += ["-r", f"__ns:=/{NAMESPACE}", "-p", f"port:={port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            if not process.stdout or not process.stdout.readline():
                raise RuntimeError("the dashboard did not start")
            time.sleep(_SETTLE)
            yield psutil.Process(process.pid), f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


@contextmanager
def rig(width: int, height: int) -> Iterator[Rig]:
    with driving(width, height), dashboard() as (process, address):
        base = Base()
        try:
            yield Rig(base, address, process)
        finally:
            base.close()


@asynccontextmanager
async def viewer(address: str) -> Any:
    """Connect as a page does; yield the control connection and the list of image arrivals (s)."""
    arrivals: list[float] = []

    async def receive_images(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(f"{address}pictures") as link:
            async for _ in link:
                arrivals.append(time.monotonic())
                await link.send_str("shown")

    async def receive_state(control: aiohttp.ClientWebSocketResponse) -> None:
        async for _ in control:
            pass

    async with aiohttp.ClientSession() as browser, browser.ws_connect(f"{address}control") as control:
        tasks = [asyncio.create_task(receive_images(browser)), asyncio.create_task(receive_state(control))]
        await _until(lambda: bool(arrivals), "a picture")
        yield control, arrivals
        for task in tasks:
            task.cancel()


async def _measure_viewer(running: Rig, name: str, seconds: float) -> Row:
    async with viewer(running.address) as (_, arrivals):
        await asyncio.sleep(_SETTLE)
        return await asyncio.to_thread(running.measure, name, seconds, lambda: len(arrivals))


async def _press_by_websocket(running: Rig, count: int) -> Presses:
    async with viewer(running.address) as (control, _):

        async def press() -> float:
            at = time.time()
            await control.send_json({"do": "stop"})
            return at

        return await _measure_presses(
            "a websocket client", running.base, count, press, lambda: control.send_json({"do": "enable"})
        )


def _press_in_browser(running: Rig, count: int) -> list[Presses]:
    """Measure presses of the page's button in Chromium; return [] if there is none."""
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        return []
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return []

    async def visit() -> Presses:
        async with async_playwright() as started:
            chromium = await started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = await chromium.new_page()
            await page.goto(running.address)
            await page.wait_for_selector("#nothing", state="hidden")
            # The time of the event itself, without the delay of the browser driver.
            press = """() => new Promise((tell) => {
                const stop = document.querySelector('#stop');
                stop.addEventListener('pointerdown', () => tell(Date.now() / 1000), { once: true, capture: true });
                stop.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true }));
            })"""
            return await _measure_presses(
                "Chromium", running.base, count, lambda: page.evaluate(press), lambda: page.click("#enable")
            )

    return [asyncio.run(visit())]


async def _measure_presses(
    by: str, base: Base, count: int, press: Callable[[], Awaitable[float]], enable: Callable[[], Awaitable[Any]]
) -> Presses:
    """Press stop `count` times, each while the robot moves; return the delays.

    `press` returns its time in seconds of the wall clock.
    """
    milliseconds = []
    for _ in range(count):
        await enable()
        await _until(lambda: base.is_moving, "motion")
        await asyncio.sleep(0.1)
        pressed = await press()
        await _until(lambda at=pressed: base.zero_at >= at, "a zero")  # type: ignore[misc]
        milliseconds.append((base.zero_at - pressed) * 1e3)
    await enable()
    milliseconds.sort()
    p99 = milliseconds[int(0.99 * (len(milliseconds) - 1))]
    return Presses(by, count, statistics.median(milliseconds), p99, milliseconds[-1])


async def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _TIMEOUT
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not come within {_TIMEOUT:g} s")
        await asyncio.sleep(0.005)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def describe_machine() -> str:
    """Return one line with hardware, versions and date."""
    hardware, *_, date = machine().split("; ")
    versions = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "ros-rclpy", "ros-fastrtps"))
    return f"{hardware}; {versions}, Python {platform.python_version()}; {date}"


if __name__ == "__main__":
    main()
