"""The dashboard as a process on real topics, seen through its websockets: a robot here, a guard that is real."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from dashboard_robot import SPACE, Robot
from ros_domain import LOCAL

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.ros.conversions import to_time, to_twist_stamped

pytestmark = pytest.mark.ros

ROOT = Path(__file__).parents[2]


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Robot]:
    for name, value in LOCAL.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as cleanup:
        yield Robot(cleanup, tmp_path)


class Page:
    """What the page knows: all news so far."""

    def __init__(self, control: aiohttp.ClientWebSocketResponse) -> None:
        self._control = control
        self._known: dict[str, Any] = {}

    async def until(self, so: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        while not self._known or not so(self._known):
            self._known |= (await self._control.receive_json()).get("news", {})
        return self._known


async def answers(control: aiohttp.ClientWebSocketResponse, node: str) -> dict[str, Any]:
    """The next of that node."""
    while True:
        answer = (await control.receive_json()).get("answer")
        if answer and answer["node"] == node:
            return answer


def of_python(process: subprocess.Popen[str]) -> psutil.Process:
    """Below `timeout`."""
    (child,) = psutil.Process(process.pid).children()
    return child


@contextlib.contextmanager
def publishing(robot: Robot, publish: Callable[[], None]) -> Iterator[None]:
    timer = robot.node.create_timer(0.05, publish)
    yield
    robot.node.destroy_timer(timer)


def test_a_stamped_command_limits_and_a_stop_with_the_guards_answer(robot: Robot) -> None:
    robot.start("node.velocity_guard", "--ros-args", "-r", f"__ns:=/{SPACE}", "-p", "enable_stamped_cmd_vel:=true")
    robot.dashboard("--enable-stamped-cmd-vel")

    def drive() -> None:
        robot.commands.publish(to_twist_stamped(Velocity(0.2, 0.0, -0.1), to_time(time.time()), "base_link"))

    async def visit(browser: aiohttp.ClientSession, address: str) -> None:
        async with browser.ws_connect(f"{address}control") as control:
            page = Page(control)
            await page.until(lambda k: k["command"] and k["command"][1:] == pytest.approx([0.2, 0.0, -0.1]))
            known = await page.until(lambda k: (k["parameters"] or {}).get("velocity_guard"))
            shown = known["parameters"]["velocity_guard"]
            assert shown["guard_timeout"] == 0.3 and shown["max_velocity"] == [0.3, 0.3, 0.8]
            await control.send_json({"do": "stop"})
            told = await answers(control, "velocity_guard")
            assert told["success"] and "disabled" in told["text"] and told["attempt"] == 1
            # Its answer may overtake the reason that it gives.
            known = await page.until(
                lambda k: k["guard"]["reason"].startswith("DISABLED") and not any(k["command"][1:])
            )
            assert known["guard"]["values"]["guard_timeout (s)"] == "0.3"
            await page.until(lambda k: k["command"][1:] == [0.0, 0.0, 0.0])

    with publishing(robot, drive):
        robot.visit(visit)


def test_a_guard_that_is_not_there_is_told_at_once_and_asked_when_it_comes(robot: Robot) -> None:
    robot.dashboard()

    async def visit(browser: aiohttp.ClientSession, address: str) -> None:
        async with browser.ws_connect(f"{address}control") as control:
            begin = time.monotonic()
            await control.send_json({"do": "stop"})
            told = await answers(control, "velocity_guard")
            assert not told["is_there"] and "text" not in told
            assert time.monotonic() - begin < 0.5
            robot.start("node.velocity_guard", "--ros-args", "-r", f"__ns:=/{SPACE}")
            while not told.get("success"):
                told = await answers(control, "velocity_guard")
            assert told["attempt"] > 1
            await control.send_json({"do": "enable"})
            assert (await answers(control, "velocity_guard"))["enabled"]

    robot.visit(visit)


def test_pictures_are_only_asked_for_while_somebody_looks_and_the_overlay_is_preferred(robot: Robot) -> None:
    robot.dashboard()

    def listeners() -> tuple[int, int]:
        return robot.overlay.get_subscription_count(), robot.camera.get_subscription_count()

    overlays = True

    def show() -> None:
        robot.camera.publish(robot.picture(50))
        if overlays:
            robot.overlay.publish(robot.picture(200))

    async def look(pictures: aiohttp.ClientWebSocketResponse) -> bytes:
        source = (await pictures.receive_bytes())[:1]
        await pictures.send_str("shown")
        return source

    async def visit(browser: aiohttp.ClientSession, address: str) -> None:
        nonlocal overlays
        async with browser.ws_connect(f"{address}control") as control:
            await Page(control).until(lambda k: k["namespace"] == f"/{SPACE}")
            assert listeners() == (0, 0), "the page is open, but no pictures are"
            async with browser.ws_connect(f"{address}pictures") as pictures:
                while await look(pictures) != b"o":
                    pass
                for _ in range(8):
                    assert await look(pictures) == b"o"
                assert listeners() == (1, 0)
                overlays, silent = False, time.monotonic()
                while await look(pictures) != b"c":
                    pass
                assert 0.8 < time.monotonic() - silent < 3.0
                overlays = True
                while await look(pictures) != b"o":
                    pass
            while listeners() != (0, 0):
                await asyncio.sleep(0.05)

    with publishing(robot, show):
        robot.visit(visit)


def test_an_instruction_is_latched_and_a_nul_is_refused(robot: Robot) -> None:
    robot.dashboard()

    async def visit(browser: aiohttp.ClientSession, address: str) -> None:
        async with browser.ws_connect(f"{address}control") as control:
            for text in ("go <b>there</b> 🚀", "go\0there", "\ud800"):
                await control.send_json({"do": "instruct", "text": text})
            refused = 0
            while refused < 2:
                refused += "refused" in await control.receive_json()
            while not robot.instructions:
                await asyncio.sleep(0.05)

    robot.visit(visit)
    assert robot.instructions == ["go <b>there</b> 🚀"]


def test_it_stays_light_and_ends_in_order_while_browsers_look(robot: Robot) -> None:
    process = robot.dashboard()
    child = of_python(process)
    libraries = {Path(each.path).name for each in child.memory_maps()}
    assert not [name for name in libraries if "torch" in name]
    assert child.memory_info().rss < 150e6

    async def visit(browser: aiohttp.ClientSession, address: str) -> None:
        async with browser.ws_connect(f"{address}control") as control, browser.ws_connect(f"{address}pictures"):
            await Page(control).until(lambda k: True)
            child.send_signal(signal.SIGTERM)
            async for _ in control:
                pass

    robot.visit(visit)
    assert process.wait(10) == 0, robot.log("cli.main")
    assert "Traceback" not in robot.log("cli.main")


def test_a_new_token_is_printed_and_written_nowhere(robot: Robot, tmp_path: Path) -> None:
    process = robot.dashboard("--host", "0.0.0.0")
    found = re.fullmatch(rf"open http://\S+:{robot.port}/\?token=(\S+)\n", robot.login_url)
    assert found
    token = found[1]

    async def visit(browser: aiohttp.ClientSession, address: str) -> None:
        for path, status in (("", 401), ("?token=wrong", 401), (f"?token={token}", 200)):
            async with browser.get(f"{address}{path}") as answer:
                assert answer.status == status

    robot.visit(visit)
    of_python(process).send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    written = "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    assert "the dashboard is at http" in written and token not in written


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--port", "PORT"), "in use"),
        (("--port", "70000"), "at most 65535"),
        (("--token", "abc"), "can be guessed"),
        (("--namespace", "a b"), "namespace"),
        (("--image-topic", "a b"), "image_topic"),
        (("--host", "203.0.113.7"), "set another host"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(robot: Robot, words: tuple[str, ...], why: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = robot.start("cli.main", "dashboard", *(port if word == "PORT" else word for word in words))
        assert process.wait(20) == 1
    said = robot.log("cli.main").splitlines()
    assert len(said) == 1 and said[0].startswith("error: ") and why in said[0]
