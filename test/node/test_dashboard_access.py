"""Who may speak with the dashboard's server: names, sites and tokens."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
import pytest
from dashboard_bench import Puppet, at, run, said, status

from simple_clip_lstm_ros.dashboard.web_server import WebServer
from simple_clip_lstm_ros.errors import ConfigError

TOKEN = "a-token-of-enough-letters"


def test_on_this_machine_there_is_no_token_but_no_other_name_or_site_gets_in(serve: Callable[..., WebServer]) -> None:
    web = serve()
    assert status(at(web)) == 200
    assert web.login_url == web.address
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
def test_a_page_of_another_site_is_refused_everything(serve: Callable[..., WebServer], path: str) -> None:
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
def test_beyond_this_machine_nothing_comes_without_the_token(serve: Callable[..., WebServer], path: str) -> None:
    web = serve("0.0.0.0")
    assert status(at(web, path)) == 401
    assert status(at(web, f"{path}?token=")) == 401
    assert status(at(web, f"{path}?token=wrong")) == 401
    assert status(at(web, f"{path}?token=%C3%A4")) == 401
    assert status(at(web, path), Cookie=f"dashboard_{web.address.rstrip('/').rpartition(':')[2]}=wrong") == 401


def test_the_token_of_the_address_becomes_a_cookie_that_opens_the_rest(serve: Callable[..., WebServer]) -> None:
    web = serve("0.0.0.0", token=TOKEN)
    assert "token" not in web.login_url, "who gave it knows it"

    async def visit(browser: aiohttp.ClientSession) -> None:
        async with browser.get(at(web, f"?token={TOKEN}")) as answer:
            assert answer.status == 200 and answer.url.query_string == "" and "Robot dashboard" in await answer.text()
            cookie = answer.history[0].headers["Set-Cookie"]
            assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
        async with browser.ws_connect(at(web, "control")) as control:
            assert (await said(control, "news"))["reason"].startswith("MOVING")

    run(visit)


def test_a_token_that_was_made_is_another_each_time_and_is_in_the_address(serve: Callable[..., WebServer]) -> None:
    first, second = serve("0.0.0.0").login_url, serve("0.0.0.0").login_url
    made = {address.partition("?token=")[2] for address in (first, second)}
    assert len(made) == 2 and min(map(len, made)) >= 32


def test_a_token_given_on_this_machine_counts_there_too(serve: Callable[..., WebServer]) -> None:
    web = serve(token=TOKEN)
    assert status(at(web)) == 401 and status(at(web, f"?token={TOKEN}")) == 200


def test_every_answer_forbids_foreign_scripts_frames_and_caches(serve: Callable[..., WebServer]) -> None:
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


def test_a_port_in_use_is_an_error_in_one_line(serve: Callable[..., WebServer], puppet: Puppet) -> None:
    port = int(serve().address.rstrip("/").rpartition(":")[2])
    with pytest.raises(ConfigError, match=rf"port {port}: .*in use.*set another port") as error:
        WebServer(puppet, "127.0.0.1", port, "")
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="set another host"):
        WebServer(puppet, "203.0.113.7", port, "")
