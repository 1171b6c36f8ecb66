"""The dashboard's web server: a page, a websocket for state and requests, and another for images.

It is independent of ROS, which it reaches through a RobotInterface. Its event loop runs in a thread of its own.
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

PERIOD = 0.1  # s between messages to the page, and at least between images
_POLL_PERIOD = 0.02  # s between checks for a newer image
_HEARTBEAT = 5.0  # s; a browser that does not respond for longer is disconnected
_MAX_MESSAGE_SIZE = 16384  # bytes from the page
_MAX_MESSAGE_RATE = 50  # per second and page: more than a person can cause
_MAX_SOCKETS = 16  # of each kind
_TIMEOUT = 5.0  # s for start and stop of the server

_PAGE = {"/": "index.html", **{f"/{name}": name for name in ("page.css", "page.js", "plot.js", "icon.svg")}}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

Send = Callable[[dict[str, Any]], Awaitable[None]]


class RobotInterface(Protocol):
    """The robot as the server uses it.

    The server counts the open `pages`, and the `viewers` of images.
    """

    image_stream: ImageStream
    viewers: int
    pages: int

    def snapshot(self) -> dict[str, Any]:
        """Return the robot's state by topic; only values that changed are sent to the page."""

    def set_instruction(self, text: str) -> None:
        """Publish an instruction. Raise InputError if it cannot be sent."""

    async def set_enabled(self, enabled: bool, send: Send) -> None:
        """Enable or stop the nodes that move the robot.

        `send` each response, or that none came.
        """


class WebServer:
    """Serves the page in a thread. Raises ConfigError if it cannot listen."""

    def __init__(self, robot: RobotInterface, host: str, port: int, token: str) -> None:
        self._robot = robot
        self._host, self._port = host, port
        self._auth = TokenAuth(host, port, token)
        self.is_token_new = bool(self._auth.token) and not token
        self._sockets: set[web.WebSocketResponse] = set()
        self._enable_task: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="web", daemon=True)
        self._thread.start()
        try:
            started.result(_TIMEOUT)
        except OSError as error:
            raise ConfigError(_bind_error(host, port, error)) from None

    @property
    def address(self) -> str:
        """Return the page's URL without the token."""
        host = self._host
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"

    @property
    def login_url(self) -> str:
        """Return the page's URL, with the token if that was generated here."""
        return self.address + (f"?token={self._auth.token}" if self.is_token_new else "")

    def stop(self) -> None:
        """Close all connections and stop the thread. Safe to call again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_TIMEOUT)

    def _run(self, started: Future[None]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(started))
        finally:
            self._loop.close()

    async def _serve(self, started: Future[None]) -> None:
        # No access log: it would contain the token.
        runner = web.AppRunner(self.application(), access_log=None)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, self._host, self._port).start()
            except OSError as error:
                started.set_exception(error)
                return
            started.set_result(None)
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._auth.middleware], client_max_size=_MAX_MESSAGE_SIZE)
        application.on_response_prepare.append(add_headers)
        application.on_shutdown.append(self._close_sockets)
        for path in _PAGE:
            application.router.add_get(path, _page)
        application.router.add_get("/control", self._control)
        application.router.add_get("/pictures", self._images)
        return application

    async def _close_sockets(self, application: web.Application) -> None:
        reason = b"the dashboard has ended"
        await asyncio.gather(*(each.close(code=WSCloseCode.GOING_AWAY, message=reason) for each in self._sockets))

    async def _control(self, request: web.Request) -> web.StreamResponse:
        async with self._open(request, "pages") as browser:
            sending = asyncio.create_task(self._send_state(browser))
            try:
                async for text in _messages(browser):
                    await self._handle_message(browser, text)
            finally:
                sending.cancel()
        return browser

    async def _send_state(self, browser: web.WebSocketResponse) -> None:
        sent: dict[str, Any] = {}
        with contextlib.suppress(ConnectionError):
            while True:
                state = nan_to_null(self._robot.snapshot())
                news = {name: value for name, value in state.items() if name not in sent or sent[name] != value}
                await browser.send_json({"news": news})
                sent = state
                await asyncio.sleep(PERIOD)

    async def _handle_message(self, browser: web.WebSocketResponse, text: str) -> None:
        async def send(answer: dict[str, Any]) -> None:
            with contextlib.suppress(ConnectionError):
                await browser.send_json(answer)

        try:
            request = _parse_request(text)
            if request["do"] == "instruct":
                self._robot.set_instruction(request["text"])
                await send({"sent": request["text"]})
            else:
                self._set_enabled(request["do"] == "enable", send)
        except InputError as error:
            await send({"refused": str(error)})

    def _set_enabled(self, enabled: bool, send: Send) -> None:
        """Cancel the previous request and start this one.

        A stop that is repeated until it is answered must not follow a newer enable, nor the reverse.
        """
        if self._enable_task is not None:
            self._enable_task.cancel()
        self._enable_task = asyncio.create_task(self._robot.set_enabled(enabled, send))

    async def _images(self, request: web.Request) -> web.StreamResponse:
        async with self._open(request, "viewers") as browser:
            acknowledged = asyncio.Event()
            acknowledged.set()
            sending = asyncio.create_task(self._send_images(browser, acknowledged))
            try:
                async for _ in _messages(browser):
                    acknowledged.set()
            finally:
                sending.cancel()
        return browser

    async def _send_images(self, browser: web.WebSocketResponse, acknowledged: asyncio.Event) -> None:
        """Send each image after the browser has shown the previous one.

        Thus no image waits in a buffer of the connection.
        """
        number, due, stream = 0, time.monotonic(), self._robot.image_stream
        with contextlib.suppress(ConnectionError):
            while True:
                await acknowledged.wait()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                while not stream.has_newer(number):
                    await asyncio.sleep(_POLL_PERIOD)
                number, image = await stream.encode_newest()
                due = max(due, time.monotonic() - PERIOD) + PERIOD
                if image:
                    acknowledged.clear()
                    await browser.send_bytes(image)

    @contextlib.asynccontextmanager
    async def _open(self, request: web.Request, count: str) -> AsyncIterator[web.WebSocketResponse]:
        """Open a websocket that counts as one of the robot's `pages` or `viewers`."""
        robot = self._robot
        if getattr(robot, count) >= _MAX_SOCKETS:
            raise web.HTTPServiceUnavailable(text=f"refused: {_MAX_SOCKETS} pages are open already\n")
        browser = web.WebSocketResponse(heartbeat=_HEARTBEAT, max_msg_size=_MAX_MESSAGE_SIZE, compress=False)
        setattr(robot, count, getattr(robot, count) + 1)
        self._sockets.add(browser)
        try:
            await browser.prepare(request)
            yield browser
        finally:
            self._sockets.discard(browser)
            setattr(robot, count, getattr(robot, count) - 1)


async def _messages(browser: web.WebSocketResponse) -> AsyncIterator[str]:
    """Yield the page's messages until it disconnects; close the socket if they are too frequent."""
    begin, count = time.monotonic(), 0
    async for message in browser:
        if time.monotonic() - begin > 1.0:
            begin, count = time.monotonic(), 0
        count += 1
        if count > _MAX_MESSAGE_RATE:
            reason = f"refused: more than {_MAX_MESSAGE_RATE} messages a second"
            await browser.close(code=WSCloseCode.POLICY_VIOLATION, message=reason.encode())
            return
        yield message.data if message.type is WSMsgType.TEXT else ""


def _parse_request(text: str) -> dict[str, Any]:
    """Parse a request of the page. Raise InputError for any other message."""
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        request = None
    if isinstance(request, dict) and (
        request.get("do") in ("stop", "enable")
        or (request.get("do") == "instruct" and isinstance(request.get("text"), str))
    ):
        return request
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
