"""Running the application: where it listens, how it stops."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from claid_ext.search.searcher import Searcher
from claid_ext.serve.app import create_app
from claid_ext.serve.settings import Settings

__all__ = ["listen", "page_address", "run_server", "server_of"]

HEADER_SECONDS = 15.0  # for a client to send the head of a request
IDLE_SECONDS = 15  # that a connection is kept without one
STOP_SECONDS = 5  # for answers under way when the server stops
BACKLOG = 128


class _Connection(H11Protocol):
    """uvicorn's connection, closed where a request's head takes too long to come.

    uvicorn waits for ever for one that has begun; a few hundred such connections, which cost their
    owner nothing, would be all that the system allows.
    """

    header_seconds = HEADER_SECONDS
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._deadline is None:
            self._expect_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle is None or self.cycle.response_complete:
            self._forget()  # the next head may take its time to begin: that is IDLE_SECONDS

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(self.header_seconds, self.transport.close)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def listen(host: str, port: int, settings: Settings) -> tuple[socket.socket, Settings]:
    """Open the socket to listen on; return it with the settings for where it is.

    Raises
    ------
    ValueError : an address that other machines reach, without a token.
    OSError : the address is in use, or not this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise OSError(f"host {host!r}: {error.strerror}") from error
    addresses = {str(its[4][0]).partition("%")[0] for its in found}
    local = all(ipaddress.ip_address(address).is_loopback for address in addresses)
    if not local and settings.token is None:
        raise ValueError(
            f"other machines reach {host}: give a --token (or CLAID_TOKEN in the environment), "
            "without which everybody there could see the photos"
        )
    family, _, _, _, where = found[0]
    try:
        opened = socket.create_server(where[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    names = [name.lower() for name in settings.hosts]
    names += [] if _is_address(host) else [host.lower()]
    names += [] if local else [socket.gethostname().lower()]
    return opened, replace(settings, hosts=tuple(names), any_address=not local)


def page_address(opened: socket.socket, host: str, settings: Settings) -> str:
    """Return the address of the page, with the token if there is one."""
    port = opened.getsockname()[1]
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    shown = f"[{shown}]" if ":" in shown else shown
    token = f"?token={settings.token}" if settings.token else ""
    return f"http://{shown}:{port}/{token}"


def server_of(app: ASGIApp) -> uvicorn.Server:
    """Return a server for the application that writes no request anywhere."""
    config = uvicorn.Config(
        app,
        http=_Connection,
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)


def run_server(
    open_index: Callable[[], Searcher],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    settings: Settings | None = None,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the page until SIGINT or SIGTERM comes, then finish what is under way and return.

    Parameters
    ----------
    open_index : opens the index, as for `create_app`.
    host, port : where to listen; port 0 for any that is free.
    settings : who may ask, and how much.
    ready : called with the page's address once it can be opened.

    Raises
    ------
    ValueError, OSError : as `listen`.
    """
    opened, settings = listen(host, port, settings or Settings())
    with opened, _quiet_signals():
        server = server_of(create_app(open_index, settings))
        ready(page_address(opened, host, settings))  # who comes now waits until all has started
        asyncio.run(server.serve([opened]))


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """Have the signals that uvicorn raises again, once it has stopped, do nothing."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {one: signal.signal(one, lambda *_: None) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
