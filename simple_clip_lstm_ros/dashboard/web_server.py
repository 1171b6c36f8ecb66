"""The dashboard's web server: a page, a websocket for what is said, and another for the pictures.

It knows no ROS: what there is to tell and whom to ask, a Robot says. Its event loop runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from importlib.resources import files
from typing import Any, Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from simple_clip_lstm_ros.dashboard.auth import TokenAuth, add_headers, is_local
from simple_clip_lstm_ros.dashboard.robot import ImageStream
from simple_clip_lstm_ros.errors import ConfigError, InputError
from simple_clip_lstm_ros.json_utils import nan_to_null

PERIOD = 0.1  # s; of what the page is told, and of its pictures at the least
_NAP = 0.02  # s; between looks for a newer picture
_HEARTBEAT = 5.0  # s; a browser that is silent for longer is gone
_LARGEST = 16384  # bytes of a message from the page
_MOST_MESSAGES = 50  # a second of one page: more than a hand can cause
_MOST_VIEWERS = 16  # websockets of each kind
_TIMEOUT = 5.0  # s until the server must have begun, or ended

_PAGE = {"/": "index.html", **{f"/{name}": name for name in ("page.css", "page.js", "plot.js", "icon.svg")}}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

Send = Callable[[dict[str, Any]], Awaitable[None]]


class RobotInterface(Protocol):
    """What the server asks for; it counts the `pages` that are open, and the `viewers` that are shown pictures."""

    pictures: ImageStream
    viewers: int
    pages: int

    def present(self) -> dict[str, Any]:
        """All there is to tell, by topic: what did not change is not sent again."""

    def instruct(self, text: str) -> None:
        """Raises InputError for what cannot be sent."""

    async def enable(self, enabled: bool, tell: Send) -> None:
        """Ask whoever can stop the robot, and tell what each answers, or that it does not."""


class WebServer:
    """Raises ConfigError where it cannot listen."""

    def __init__(self, robot: RobotInterface, host: str, port: int, token: str) -> None:
        self._robot = robot
        self._host, self._port = host, port
        self._access = TokenAuth(host, port, token)
        self.is_token_new = bool(self._access.token) and not token
        self._sockets: set[web.WebSocketResponse] = set()
        self._asking: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        begun: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(begun,), name="web", daemon=True)
        self._thread.start()
        try:
            begun.result(_TIMEOUT)
        except OSError as error:
            raise ConfigError(_bind_error(host, port, error)) from None

    @property
    def address(self) -> str:
        """Of the page, without the token."""
        host = self._host
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"

    @property
    def login_url(self) -> str:
        """The address with a token that was made here, which nobody knows yet."""
        return self.address + (f"?token={self._access.token}" if self.is_token_new else "")

    def stop(self) -> None:
        """Take leave of all browsers. Safe to call again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(_TIMEOUT)

    def _run(self, begun: Future[None]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(begun))
        finally:
            self._loop.close()

    async def _serve(self, begun: Future[None]) -> None:
        # No log of accesses: it would hold the token.
        runner = web.AppRunner(self.application(), access_log=None)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, self._host, self._port).start()
            except OSError as error:
                begun.set_exception(error)
                return
            begun.set_result(None)
            await self._end.wait()
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._access.middleware], client_max_size=_LARGEST)
        application.on_response_prepare.append(add_headers)
        application.on_shutdown.append(self._close_sockets)
        for path in _PAGE:
            application.router.add_get(path, _page)
        application.router.add_get("/control", self._control)
        application.router.add_get("/pictures", self._pictures)
        return application

    async def _close_sockets(self, application: web.Application) -> None:
        why = b"the dashboard has ended"
        await asyncio.gather(*(each.close(code=WSCloseCode.GOING_AWAY, message=why) for each in self._sockets))

    async def _control(self, request: web.Request) -> web.StreamResponse:
        async with self._open(request, "pages") as browser:
            telling = asyncio.create_task(self._tell(browser))
            try:
                async for text in _messages(browser):
                    await self._handle_message(browser, text)
            finally:
                telling.cancel()
        return browser

    async def _tell(self, browser: web.WebSocketResponse) -> None:
        told: dict[str, Any] = {}
        with contextlib.suppress(ConnectionError):
            while True:
                present = nan_to_null(self._robot.present())
                news = {name: value for name, value in present.items() if name not in told or told[name] != value}
                await browser.send_json({"news": news})
                told = present
                await asyncio.sleep(PERIOD)

    async def _handle_message(self, browser: web.WebSocketResponse, text: str) -> None:
        async def tell(answer: dict[str, Any]) -> None:
            with contextlib.suppress(ConnectionError):
                await browser.send_json(answer)

        try:
            wish = _parse_request(text)
            if wish["do"] == "instruct":
                self._robot.instruct(wish["text"])
                await tell({"sent": wish["text"]})
            else:
                self._ask(wish["do"] == "enable", tell)
        except InputError as error:
            await tell({"refused": str(error)})

    def _ask(self, enabled: bool, tell: Send) -> None:
        """Only the last wish counts: a stop that waits for its answer must not follow an enable, nor the reverse."""
        if self._asking is not None:
            self._asking.cancel()
        self._asking = asyncio.create_task(self._robot.enable(enabled, tell))

    async def _pictures(self, request: web.Request) -> web.StreamResponse:
        async with self._open(request, "viewers") as browser:
            shown = asyncio.Event()
            shown.set()
            showing = asyncio.create_task(self._show(browser, shown))
            try:
                async for _ in _messages(browser):
                    shown.set()
            finally:
                showing.cancel()
        return browser

    async def _show(self, browser: web.WebSocketResponse, shown: asyncio.Event) -> None:
        """One picture at a time: the next when the browser has shown the last. So none waits in a buffer on the way."""
        number, due, pictures = 0, time.monotonic(), self._robot.pictures
        with contextlib.suppress(ConnectionError):
            while True:
                await shown.wait()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                while not pictures.has_newer(number):
                    await asyncio.sleep(_NAP)
                number, picture = await pictures.newest()
                due = max(due, time.monotonic() - PERIOD) + PERIOD
                if picture:
                    shown.clear()
                    await browser.send_bytes(picture)

    @contextlib.asynccontextmanager
    async def _open(self, request: web.Request, count: str) -> AsyncIterator[web.WebSocketResponse]:
        """A websocket, counted as one of the robot's `pages` or `viewers`."""
        robot = self._robot
        if getattr(robot, count) >= _MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"refused: {_MOST_VIEWERS} pages are open already\n")
        browser = web.WebSocketResponse(heartbeat=_HEARTBEAT, max_msg_size=_LARGEST, compress=False)
        setattr(robot, count, getattr(robot, count) + 1)
        self._sockets.add(browser)
        try:
            await browser.prepare(request)
            yield browser
        finally:
            self._sockets.discard(browser)
            setattr(robot, count, getattr(robot, count) - 1)


async def _messages(browser: web.WebSocketResponse) -> AsyncIterator[str]:
    """Texts of the page until it is gone, or says more than a page has to say."""
    begin, count = time.monotonic(), 0
    async for message in browser:
        if time.monotonic() - begin > 1.0:
            begin, count = time.monotonic(), 0
        count += 1
        if count > _MOST_MESSAGES:
            why = f"refused: more than {_MOST_MESSAGES} messages a second"
            await browser.close(code=WSCloseCode.POLICY_VIOLATION, message=why.encode())
            return
        yield message.data if message.type is WSMsgType.TEXT else ""


def _parse_request(text: str) -> dict[str, Any]:
    """What a page asks for. Raises InputError for what no page of ours says."""
    try:
        wish = json.loads(text)
    except (ValueError, RecursionError):
        wish = None
    if isinstance(wish, dict) and (
        wish.get("do") in ("stop", "enable") or (wish.get("do") == "instruct" and isinstance(wish.get("text"), str))
    ):
        return wish
    raise InputError("refused: this message is not one of the dashboard's page")


async def _page(request: web.Request) -> web.Response:
    name = _PAGE[request.path]
    body = (files(__package__) / "page" / name).read_bytes()
    return web.Response(body=body, content_type=_TYPES[name.rpartition(".")[2]], charset="utf-8")


def _bind_error(host: str, port: int, error: OSError) -> str:
    where = f"the dashboard cannot listen on {host} port {port}"
    if is_local(host):
        return f"{where}: {error.strerror or error}; set another port"
    return f"{where}: {error.strerror or error}; set another host or port"
