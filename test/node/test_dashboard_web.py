"""What is said to the dashboard's server, with a robot that is none; and what bad input does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable

import aiohttp
import pytest
from dashboard_bench import Puppet, at, run, said, until

from simple_clip_lstm_ros.dashboard.web_server import WebServer

MARKUP = "<script>alert(1)</script>"


def test_an_instruction_arrives_as_it_was_typed_and_what_cannot_be_sent_is_refused(
    serve: Callable[..., WebServer], puppet: Puppet
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
    assert puppet.told == [MARKUP, "", "grün 🚀"]


def test_stop_and_enable_are_passed_on_with_the_answer(serve: Callable[..., WebServer], puppet: Puppet) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "control")) as control:
            for wish in ("stop", "enable", "stop"):
                await control.send_json({"do": wish})
                assert (await said(control, "answer"))["text"] == "disabled"

    run(visit)
    assert puppet.enabled == [False, True, False]


def test_what_changed_is_told_and_what_did_not_is_not_told_again(
    serve: Callable[..., WebServer], puppet: Puppet
) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.ws_connect(at(web, "control")) as control:
            assert await said(control, "news") == {
                "now": pytest.approx(time.monotonic(), abs=5),
                "reason": puppet.reason,
                "command": [0.0, None],
            }
            assert set(await said(control, "news")) == {"now"}
            puppet.reason = "DISABLED"
            while "reason" not in (news := await said(control, "news")):
                pass
            assert news["reason"] == "DISABLED"

    run(visit)


# Bad input.

GARBAGE = ["", "stop", "{", "[]", "null", "1" * 5000, "[" * 5000, '{"do": "stop2"}', '{"do": "instruct"}']
GARBAGE += ['{"do": "instruct", "text": 5}', '{"do": ["stop"]}', '{"text": "go"}']


def test_garbage_is_refused_in_words_and_what_follows_is_heard(serve: Callable[..., WebServer], puppet: Puppet) -> None:
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
    assert puppet.told == [] and puppet.enabled == [False]


@pytest.mark.parametrize("path", ["control", "pictures"])
def test_a_megabyte_ends_that_connection_and_no_other(
    serve: Callable[..., WebServer], puppet: Puppet, path: str
) -> None:
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
    assert puppet.told == [] and puppet.enabled == [False]
    until(lambda: puppet.pages == puppet.viewers == 0)


@pytest.mark.parametrize("path", ["control", "pictures"])
def test_a_flood_ends_that_connection_in_words_and_no_other(
    serve: Callable[..., WebServer], puppet: Puppet, path: str
) -> None:
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
    assert len(puppet.told) <= 50 and puppet.enabled == [False]


def test_too_many_pages_are_refused(serve: Callable[..., WebServer], puppet: Puppet) -> None:
    web = serve()

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(16):
                await stack.enter_async_context(browser.ws_connect(at(web, "control")))
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                await browser.ws_connect(at(web, "control"))
            await stack.enter_async_context(browser.ws_connect(at(web, "pictures")))

    run(visit)
    until(lambda: puppet.pages == 0)


def test_at_the_end_browsers_are_told(serve: Callable[..., WebServer]) -> None:
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
