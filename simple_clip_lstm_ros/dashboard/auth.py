"""Token and origin checks, and security headers, applied to every request of the dashboard."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OWN_NAMES = {"localhost", "127.0.0.1", "::1"}
# Only the page's own files, no inline script, and no embedding in a frame (clickjacking).
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def is_local(host: str) -> bool:
    """Return whether a server on `host` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class TokenAuth:
    """Checks tokens and origins of requests.

    Other machines need a token: the given one, or a new one. This machine needs a token only if one is given. The token
    is in the first URL and is a cookie from then on, invisible to the page and its address.
    """

    def __init__(self, host: str, port: int, token: str) -> None:
        self._is_local = is_local(host)
        self.token = token or ("" if self._is_local else secrets.token_urlsafe(24))
        # Browsers store cookies by host and ignore the port.
        self._cookie = f"dashboard_{port}"

    def reject(self, request: web.Request) -> web.HTTPException | None:
        """Return the rejection or login redirect of a request; None if it may proceed."""
        host = request.headers.get("Host", "")
        if self._is_local and _host_name(host) not in _OWN_NAMES:
            # DNS rebinding: a foreign page whose name resolves to this machine.
            return web.HTTPForbidden(text="refused: open the dashboard as localhost or 127.0.0.1\n")
        origin = request.headers.get("Origin")
        if origin is not None and not (
            host and origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())
        ):
            return web.HTTPForbidden(text="refused: this request comes from another site\n")
        if not self.token or self._is_token(request.cookies.get(self._cookie, "")):
            return None
        if request.path == "/" and self._is_token(request.query.get("token", "")):
            return self._login_redirect()
        return web.HTTPUnauthorized(
            text="refused: the token is missing or wrong. Open the address that the dashboard printed at its start.\n"
        )

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), self.token.encode())

    def _login_redirect(self) -> web.HTTPException:
        """Return a redirect that sets the cookie and removes the token from the URL.

        In the URL it would stay in the browser's history.
        """
        redirect = web.HTTPSeeOther("/")
        # Lax and not Strict: otherwise a link to the page in a mail or chat would be rejected.
        redirect.set_cookie(self._cookie, self.token, httponly=True, samesite="Lax")
        return redirect

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        rejection = self.reject(request)
        if rejection is None:
            return await handler(request)
        raise rejection


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
