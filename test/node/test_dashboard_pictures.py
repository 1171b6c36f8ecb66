"""The pictures that the dashboard's server sends: the newest, no more than ten a second, and none of the past."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiohttp
import cv2
import numpy as np
import pytest
from dashboard_bench import Puppet, at, run, said, until

from simple_clip_lstm_ros.dashboard.robot import CAMERA, OVERLAY
from simple_clip_lstm_ros.dashboard.web_server import WebServer
from simple_clip_lstm_ros.ros.camera_topic import to_image
from simple_clip_lstm_ros.ros.conversions import to_time


async def picture(pictures: aiohttp.ClientWebSocketResponse) -> tuple[bytes, int, int]:
    """Its source, width and shade."""
    data = await pictures.receive_bytes()
    image = cv2.imdecode(np.frombuffer(data[1:], np.uint8), cv2.IMREAD_COLOR)
    return data[:1], image.shape[1], round(float(image.mean()))


def test_a_browser_that_is_slow_is_sent_the_newest_and_nothing_waits(
    serve: Callable[..., WebServer], puppet: Puppet
) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "pictures")) as pictures:
            until(lambda: puppet.viewers == 1)
            puppet.show(CAMERA, 10)
            assert await picture(pictures) == (CAMERA, 64, 10)
            for shade in (50, 100, 150):  # not shown yet
                puppet.show(OVERLAY, shade)
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
    until(lambda: puppet.viewers == 0)


def test_pictures_come_ten_times_a_second_at_the_most_and_no_wider_than_a_screen(
    serve: Callable[..., WebServer], puppet: Puppet
) -> None:
    web = serve()

    async def show() -> None:
        while True:
            puppet.show(CAMERA, 80, width=3000)
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


def test_a_picture_of_the_past_is_not_shown(serve: Callable[..., WebServer], puppet: Puppet) -> None:
    web = serve()
    puppet.show(CAMERA, 10)
    time.sleep(1.1)

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "pictures")) as pictures:
            with pytest.raises(asyncio.TimeoutError):
                await pictures.receive(timeout=0.3)
            puppet.show(CAMERA, 20)
            assert await picture(pictures) == (CAMERA, 64, 20)

    run(visit)


def test_a_picture_that_cannot_be_shown_is_named_and_the_next_one_is_shown(
    serve: Callable[..., WebServer], puppet: Puppet
) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "pictures")) as pictures:
            broken = to_image(np.zeros((4, 4, 3), np.uint8), to_time(1.0), "camera")
            broken.encoding = "64FC9"
            puppet.image_stream.set_image(CAMERA, broken)
            while not puppet.image_stream.fault:
                await asyncio.sleep(0.01)
            assert "64FC9" in puppet.image_stream.fault
            puppet.show(CAMERA, 90)
            assert (await picture(pictures))[2] == 90
            assert not puppet.image_stream.fault

    run(visit)
