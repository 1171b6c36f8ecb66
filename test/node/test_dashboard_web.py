"""The dashboard's server with a robot that is none: who gets in, and what bad input does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import numpy as np
import pytest

pytest.importorskip("rclpy")
from simple_clip_lstm_ros.errors import ConfigError, InputError
from simple_clip_lstm_ros.node.dashboard_pictures import CAMERA, OVERLAY, Pictures
from simple_clip_lstm_ros.node.dashboard_web import Web
from simple_clip_lstm_ros.node.messages import to_image, to_time

TOKEN = "a-token-of-enough-letters"
MARKUP = "<script>alert(1)</script>"


class Robot:
    """Notes what it is asked, and answers as a guard does."""

    def __init__(self) -> None:
        self.pictures = Pictures()
        self.viewers = self.pages = 0
        self.told: list[str] = []
        self.enabled: list[bool] = []
        self.reason = "MOVING: following the instruction"

    def present(self) -> dict[str, Any]:
        return {"now": time.monotonic(), "reason": self.reason, "command": (0.0, float("nan"))}

    def instruct(self, text: str) -> None:
        if "\0" in text:
            raise InputError("no text")
        self.told.append(text)

    async def enable(self, enabled: bool, tell: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self.enabled.append(enabled)
        await tell({"answer": {"node": "velocity_guard", "text": "disabled"}})

    def show(self, source: bytes, shade: int, width: int = 64) -> None:
        self.pictures.take(source, to_image(np.full((48, width, 3), shade, np.uint8), to_time(1.0), "camera"))


@pytest.fixture
def robot() -> Robot:
    return Robot()


@pytest.fixture
def serve(robot: Robot) -> Iterator[Callable[..., Web]]:
    servers: list[Web] = []

    def serve(host: str = "127.0.0.1", token: str = "", port: int = 0) -> Web:
        servers.append(Web(robot, host, port or free_port(), token))
        return servers[-1]

    yield serve
    for each in servers:
        each.stop()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def at(web: Web, path: str = "") -> str:
    """Of the page as seen from this machine, whatever the server listens on."""
    return f"http://127.0.0.1:{web.address.rstrip('/').rpartition(':')[2]}/{path}"


def run(act: Callable[[aiohttp.ClientSession], Awaitable[Any]], **options: Any) -> Any:
    """With a browser: a client that keeps cookies."""

    async def visit() -> Any:
        jar = aiohttp.CookieJar(unsafe=True)  # from addresses too
        async with aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(20), **options) as browser:
            return await act(browser)

    return asyncio.run(visit())


def status(url: str, **headers: str) -> int:
    async def get(browser: aiohttp.ClientSession) -> int:
        async with browser.get(url, headers=headers) as answer:
            return answer.status

    return run(get)


def until(so: Callable[[], object]) -> None:
    end = time.monotonic() + 5.0
    while not so():
        assert time.monotonic() < end
        time.sleep(0.01)


async def said(socket: aiohttp.ClientWebSocketResponse, kind: str) -> Any:
    """The next message of that kind."""
    while True:
        message = await socket.receive_json()
        if kind in message:
            return message[kind]


# Who gets in.


def test_on_this_machine_there_is_no_token_but_no_other_name_or_site_gets_in(serve: Callable[..., Web]) -> None:
    web = serve()
    assert status(at(web)) == 200
    assert web.invitation == web.address
    port = web.address.rstrip("/").rpartition(":")[2]
    for name in (f"localhost:{port}", f"[::1]:{port}", "LOCALHOST"):
        assert status(at(web), Host=name) == 200
    for name in (
        f"evil.example:{port}",
        f"localhost.evil.example:{port}",
        "192.168.0.2",
        "",
        "[",
        "localhost@evil.example",
    ):
        assert status(at(web), Host=name) in (400, 403), name


@pytest.mark.parametrize("path", ["", "page.js", "control", "pictures", "nowhere"])
def test_a_page_of_another_site_is_refused_everything(serve: Callable[..., Web], path: str) -> None:
    web = serve()
    for origin in (
        "http://evil.example",
        "null",
        at(web).replace("127.0.0.1", "localhost").rstrip("/"),
        "http://127.0.0.1",
    ):
        assert status(at(web, path), Origin=origin) == 403
    own = status(at(web, path), Origin=at(web).rstrip("/"))
    assert own != 403


@pytest.mark.parametrize("path", ["", "page.js", "control", "pictures", "nowhere"])
def test_beyond_this_machine_nothing_comes_without_the_token(serve: Callable[..., Web], path: str) -> None:
    web = serve("0.0.0.0")
    assert status(at(web, path)) == 401
    assert status(at(web, f"{path}?token=")) == 401
    assert status(at(web, f"{path}?token=wrong")) == 401
    assert status(at(web, f"{path}?token=%C3%A4")) == 401
    assert status(at(web, path), Cookie=f"dashboard_{web.address.rstrip('/').rpartition(':')[2]}=wrong") == 401


def test_the_token_of_the_address_becomes_a_cookie_that_opens_the_rest(serve: Callable[..., Web]) -> None:
    web = serve("0.0.0.0", token=TOKEN)
    assert "token" not in web.invitation, "who gave it knows it"

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.get(at(web, f"?token={TOKEN}")) as answer:
            assert answer.status == 200 and answer.url.query_string == "" and "Robot dashboard" in await answer.text()
            cookie = answer.history[0].headers["Set-Cookie"]
            assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
        async with browser.ws_connect(at(web, "control")) as control:
            assert (await said(control, "news"))["reason"].startswith("MOVING")

    run(visit)


def test_a_token_that_was_made_is_another_each_time_and_is_in_the_address(serve: Callable[..., Web]) -> None:
    first, second = serve("0.0.0.0").invitation, serve("0.0.0.0").invitation
    made = {address.partition("?token=")[2] for address in (first, second)}
    assert len(made) == 2 and min(map(len, made)) >= 32


def test_a_token_given_on_this_machine_counts_there_too(serve: Callable[..., Web]) -> None:
    web = serve(token=TOKEN)
    assert status(at(web)) == 401 and status(at(web, f"?token={TOKEN}")) == 200


def test_every_answer_forbids_foreign_scripts_frames_and_caches(serve: Callable[..., Web]) -> None:
    web = serve()

    async def get(browser: aiohttp.ClientSession) -> None:
        for path, headers in (("", {}), ("page.js", {}), ("nowhere", {}), ("", {"Origin": "http://evil.example"})):
            async with browser.get(at(web, path), headers=headers) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy and "*" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cache-Control"] == "no-store"

    run(get)


def test_a_port_in_use_is_an_error_in_one_line(serve: Callable[..., Web], robot: Robot) -> None:
    port = int(serve().address.rstrip("/").rpartition(":")[2])
    with pytest.raises(ConfigError, match=rf"port {port}: .*in use.*set another port") as error:
        Web(robot, "127.0.0.1", port, "")
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="set another host"):
        Web(robot, "203.0.113.7", port, "")


# What is said.


def test_an_instruction_arrives_as_it_was_typed_and_what_cannot_be_sent_is_refused(
    serve: Callable[..., Web], robot: Robot
) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "control")) as control:
            for text in (MARKUP, "", "grün 🚀"):
                await control.send_json({"do": "instruct", "text": text})
                assert await said(control, "sent") == text
            await control.send_json({"do": "instruct", "text": "go\0there"})
            assert await said(control, "refused") == "no text"

    run(visit)
    assert robot.told == [MARKUP, "", "grün 🚀"]


def test_stop_and_enable_are_passed_on_with_the_answer(serve: Callable[..., Web], robot: Robot) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "control")) as control:
            for wish in ("stop", "enable", "stop"):
                await control.send_json({"do": wish})
                assert (await said(control, "answer"))["text"] == "disabled"

    run(visit)
    assert robot.enabled == [False, True, False]


def test_what_changed_is_told_and_what_did_not_is_not_told_again(serve: Callable[..., Web], robot: Robot) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "control")) as control:
            assert await said(control, "news") == {
                "now": pytest.approx(time.monotonic(), abs=5),
                "reason": robot.reason,
                "command": [0.0, None],
            }
            assert set(await said(control, "news")) == {"now"}
            robot.reason = "DISABLED"
            while "reason" not in (news := await said(control, "news")):
                pass
            assert news["reason"] == "DISABLED"

    run(visit)


# Bad input.

GARBAGE = ["", "stop", "{", "[]", "null", "1" * 5000, "[" * 5000, '{"do": "stop2"}', '{"do": "instruct"}']
GARBAGE += ['{"do": "instruct", "text": 5}', '{"do": ["stop"]}', '{"text": "go"}']


def test_garbage_is_refused_in_words_and_what_follows_is_heard(serve: Callable[..., Web], robot: Robot) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "control")) as control:
            for text in GARBAGE:
                await control.send_str(text)
                assert "not one of the dashboard's page" in await said(control, "refused"), text
            await control.send_bytes(bytes(range(256)))
            assert "refused" in await said(control, "refused")
            await control.send_json({"do": "stop"})
            await said(control, "answer")

    run(visit)
    assert robot.told == [] and robot.enabled == [False]


@pytest.mark.parametrize("path", ["control", "pictures"])
def test_a_megabyte_ends_that_connection_and_no_other(serve: Callable[..., Web], robot: Robot, path: str) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "control")) as other:
            async with browser.ws_connect(at(web, path)) as bad:
                with contextlib.suppress(ConnectionError):
                    await bad.send_str(json.dumps({"do": "instruct", "text": "x" * 1_000_000}))
                async for _ in bad:
                    pass
                # The rest of the megabyte may turn the end into a reset of the connection.
                assert bad.close_code in (aiohttp.WSCloseCode.MESSAGE_TOO_BIG, aiohttp.WSCloseCode.ABNORMAL_CLOSURE)
            await other.send_json({"do": "stop"})
            await said(other, "answer")

    run(visit)
    assert robot.told == [] and robot.enabled == [False]
    until(lambda: robot.pages == robot.viewers == 0)


@pytest.mark.parametrize("path", ["control", "pictures"])
def test_a_flood_ends_that_connection_in_words_and_no_other(serve: Callable[..., Web], robot: Robot, path: str) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "control")) as other:
            async with browser.ws_connect(at(web, path)) as bad:
                with contextlib.suppress(ConnectionError):
                    for _ in range(1000):
                        await bad.send_json({"do": "instruct", "text": "go"})
                why = ""
                while (message := await bad.receive()).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                    pass
                why = message.extra or ""
                assert bad.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION and "messages a second" in why
            await other.send_json({"do": "stop"})
            await said(other, "answer")

    run(visit)
    assert len(robot.told) <= 50 and robot.enabled == [False]


def test_too_many_pages_are_refused(serve: Callable[..., Web], robot: Robot) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(16):
                await stack.enter_async_context(browser.ws_connect(at(web, "control")))
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                await browser.ws_connect(at(web, "control"))
            await stack.enter_async_context(browser.ws_connect(at(web, "pictures")))

    run(visit)
    until(lambda: robot.pages == 0)


# Pictures.


async def picture(pictures: aiohttp.ClientWebSocketResponse) -> tuple[bytes, int, int]:
    """Its source, width and shade."""
    import cv2

    data = await pictures.receive_bytes()
    image = cv2.imdecode(np.frombuffer(data[1:], np.uint8), cv2.IMREAD_COLOR)
    return data[:1], image.shape[1], round(float(image.mean()))


def test_a_browser_that_is_slow_is_sent_the_newest_and_nothing_waits(serve: Callable[..., Web], robot: Robot) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "pictures")) as pictures:
            until(lambda: robot.viewers == 1)
            robot.show(CAMERA, 10)
            assert await picture(pictures) == (CAMERA, 64, 10)
            for shade in (50, 100, 150):  # not shown yet
                robot.show(OVERLAY, shade)
                await asyncio.sleep(0.15)
            with pytest.raises(asyncio.TimeoutError):
                await pictures.receive(timeout=0.3)
            async with browser.ws_connect(at(web, "control")) as control:
                begin = time.monotonic()
                await control.send_json({"do": "stop"})
                await said(control, "answer")
                assert time.monotonic() - begin < 0.3, "a stop does not wait for pictures"
            await pictures.send_str("shown")
            assert await picture(pictures) == (OVERLAY, 64, 150)

    run(visit)
    until(lambda: robot.viewers == 0)


def test_pictures_come_ten_times_a_second_at_the_most_and_no_wider_than_a_screen(
    serve: Callable[..., Web], robot: Robot
) -> None:
    web = serve()

    async def show() -> None:
        while True:
            robot.show(CAMERA, 80, width=3000)
            await asyncio.sleep(0.01)

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "pictures")) as pictures:
            showing = asyncio.create_task(show())
            begin, count = time.monotonic(), 0
            while time.monotonic() < begin + 2.0:
                assert (await picture(pictures))[1] == 750
                await pictures.send_str("shown")
                count += 1
            showing.cancel()
            assert 5 <= count <= 22

    run(visit)


def test_a_picture_of_the_past_is_not_shown(serve: Callable[..., Web], robot: Robot) -> None:
    web = serve()
    robot.show(CAMERA, 10)
    time.sleep(1.1)

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "pictures")) as pictures:
            with pytest.raises(asyncio.TimeoutError):
                await pictures.receive(timeout=0.3)
            robot.show(CAMERA, 20)
            assert await picture(pictures) == (CAMERA, 64, 20)

    run(visit)


def test_a_picture_that_cannot_be_shown_is_named_and_the_next_one_is_shown(
    serve: Callable[..., Web], robot: Robot
) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "pictures")) as pictures:
            broken = to_image(np.zeros((4, 4, 3), np.uint8), to_time(1.0), "camera")
            broken.encoding = "64FC9"
            robot.pictures.take(CAMERA, broken)
            while not robot.pictures.fault:
                await asyncio.sleep(0.01)
            assert "64FC9" in robot.pictures.fault
            robot.show(CAMERA, 90)
            assert (await picture(pictures))[2] == 90
            assert not robot.pictures.fault

    run(visit)


def test_at_the_end_browsers_are_told(serve: Callable[..., Web]) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "control")) as control:
            await said(control, "news")
            stopping = asyncio.create_task(asyncio.to_thread(web.stop))
            async for _ in control:
                pass
            await stopping
            assert control.close_code == aiohttp.WSCloseCode.GOING_AWAY

    run(visit)
