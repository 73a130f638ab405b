"""What every request passes first: who asks, from which page, how much and how slowly.

- The Host header must name this machine, or a page elsewhere could point its own name at the
  server and read answers as its own (DNS rebinding).
- A browser says where a request comes from: other sites' pages are refused, and no header lets
  them read answers (no CORS).
- With a token, it is in an Authorization header, or in a cookie that a link with `?token=` sets.
- Bodies are bounded in bytes and time.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from claid_ext.serve.errors import TooLargeError, TooSlowError
from claid_ext.serve.settings import Settings

__all__ = ["UPLOADS_PATH", "Guard"]

UPLOADS_PATH = "/api/uploads"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
COOKIE_DAYS = 30
DRAIN_BYTES, DRAIN_SECONDS = 16 << 20, 2.0  # of a refused body that are read before the answer


class Guard:
    """The application behind these checks."""

    def __init__(self, app: ASGIApp, settings: Settings, token_page: str) -> None:
        """Guard an application; `token_page` is the HTML that asks for a token."""
        self._app = app
        self._settings = settings
        self._token_page = token_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        headers = Headers(scope=scope)
        body = _Body(receive, headers, self._settings, self._most_bytes(scope))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answered.setdefault(name, value)
                answered.setdefault("cache-control", "no-store")
                if not body.whole:  # what is still to come of it is not read
                    answered["connection"] = "close"
            await send(message)

        refused = self._refusal(scope, headers) or body.refusal(headers)
        if refused is not None:
            await body.drain()
            await refused(scope, receive, send_guarded)
        else:
            await self._app(scope, body.receive, send_guarded)

    def _most_bytes(self, scope: Scope) -> int:
        uploading = scope["path"] == UPLOADS_PATH
        return self._settings.upload_bytes if uploading else self._settings.request_bytes

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._knows(host):
            return _plain(421, f"this server is not called {host!r}: see --allow-host")
        path: str = scope["path"]
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return _plain(403, "requests from pages of other sites are refused")
        if headers.get("sec-fetch-site") in {"cross-site", "same-site"} and path.startswith("/api"):
            return _plain(403, "requests from pages of other sites are refused")
        if self._settings.token is None or path.startswith("/static/"):
            return None
        return self._token_refusal(scope, headers, self._settings.token)

    def _knows(self, host: str) -> bool:
        name = _without_port(host).lower()
        if name in LOOPBACK_NAMES or name in self._settings.hosts:
            return True
        return self._settings.any_address and _is_address(name)

    def _token_refusal(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        port = (scope.get("server") or ("", 0))[1]
        name = f"claid-{port}"  # cookies of one host are shared by all its ports
        if given and scope["method"] in {"GET", "HEAD"} and _same(given[-1], token):
            rest = urlencode([(key, value) for key, value in query if key != "token"])
            # Relative, or "//elsewhere/" would be another site.
            target = "/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else "")
            redirect = RedirectResponse(target, 303)
            redirect.set_cookie(
                name,
                _cookie(token),
                max_age=COOKIE_DAYS * 24 * 3600,
                httponly=True,
                samesite="lax",
                secure=scope["scheme"] == "https",
            )
            return redirect
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(bearer.strip(), token):
            return None
        if _same(_cookie_of(headers, name), _cookie(token)):
            return None
        if scope["path"].startswith("/api/"):
            response = _plain(401, "a token is needed: send Authorization: Bearer TOKEN")
            response.headers["www-authenticate"] = "Bearer"
            return response
        return HTMLResponse(self._token_page, 401)


class _Body:
    """A request's body, bounded in bytes and time; `whole` once all of it is there."""

    def __init__(self, receive: Receive, headers: Headers, settings: Settings, most: int) -> None:
        self._receive = receive
        self._pause = settings.pause_seconds
        self._until = time.monotonic() + settings.request_seconds
        self._most = most
        self._got = 0
        chunked = "transfer-encoding" in headers
        self.whole = not chunked and headers.get("content-length", "0") == "0"

    def refusal(self, headers: Headers) -> Response | None:
        """Refuse a body that says itself that it is too long."""
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) <= self._most:
            return None
        return _plain(413, self._too_large())

    async def receive(self) -> Message:
        """Receive the next part. Raises TooLargeError and TooSlowError."""
        if self.whole:  # what comes now is that the client has gone, whenever that is
            return await self._receive()
        left = min(self._pause, self._until - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError:
            raise TooSlowError("the request did not arrive in time") from None
        if message["type"] == "http.request":
            self._got += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
            if self._got > self._most:
                await self.drain()
                raise TooLargeError(self._too_large())
        return message

    async def drain(self) -> None:
        """Pass over some of what is still to come of a refused body.

        A connection that is closed on what the client is sending is reset, and most clients then
        do not read why.
        """
        until, left = time.monotonic() + DRAIN_SECONDS, DRAIN_BYTES
        while not self.whole and left > 0 and (rest := until - time.monotonic()) > 0:
            try:
                message = await asyncio.wait_for(self._receive(), rest)
            except TimeoutError:
                return
            left -= len(message.get("body", b""))
            self.whole = not message.get("more_body", False)

    def _too_large(self) -> str:
        return f"a request of more than {self._most} bytes is refused"


def _plain(status: int, what: str) -> Response:
    return JSONResponse({"error": what}, status)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="surrogateescape"), other.encode())


def _cookie(token: str) -> str:
    """Return what the cookie holds: not the token, which would be in the browser's files."""
    return hmac.new(token.encode(), b"claid serve", hashlib.sha256).hexdigest()


def _cookie_of(headers: Headers, name: str) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return cookie.value if cookie else ""
