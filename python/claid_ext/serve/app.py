"""`create_app`: the page and the API as one ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from claid_ext._version import __version__
from claid_ext.errors import ClaidError
from claid_ext.search.searcher import Searcher
from claid_ext.serve.api import Parts, make_router
from claid_ext.serve.errors import RequestError
from claid_ext.serve.guard import Guard
from claid_ext.serve.reader import Reader
from claid_ext.serve.settings import Settings

__all__ = ["create_app"]

PAGES = {"/": "index.html", "/docs": "docs.html"}
TOKEN_PAGE = "token.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
DESCRIPTION = (
    "Mark a thing in one photo and find it in the others. Boxes are x0, y0, x1, y1 in pixels of "
    "the upright photo. Errors are JSON with one field, error."
)

logger = logging.getLogger("claid_ext.serve")


def create_app(open_index: Callable[[], Searcher], settings: Settings | None = None) -> ASGIApp:
    """Make the application; it starts its threads when the server starts it.

    Parameters
    ----------
    open_index : opens the index, such as `lambda: InstanceIndex.open("things")`. It is called once
        in each thread that reads the index.
    settings : who may ask, and how much.
    """
    settings = settings or Settings()
    content = _static_files()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = Parts(settings, lambda: Reader(open_index()))
        app.include_router(make_router(parts))
        loading = asyncio.create_task(_load(parts))
        try:
            yield
        finally:
            loading.cancel()
            parts.close()

    app = FastAPI(
        title="claid serve",
        version=__version__,
        description=DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # FastAPI's own pages load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_errors(app)
    _add_files(app, content)
    return Guard(app, settings, content[TOKEN_PAGE].decode())


async def _load(parts: Parts) -> None:
    """Load the network that describes queries before somebody waits for it."""
    try:
        await parts.networks.run(lambda reader, _: reader.index.descriptor)
    except Exception as error:  # searches say so too
        logger.error("no queries can be described: %s", error)


def _static_files() -> dict[str, bytes]:
    folder = resources.files(__package__) / "static"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def _add_files(app: FastAPI, content: dict[str, bytes]) -> None:
    """Serve the files of the package by their names: no path is looked up on disk."""

    def answer(name: str) -> Response:
        if name not in content:
            raise HTTPException(404)
        kind = TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
        headers = {"content-type": kind, "cache-control": "no-cache"}
        return Response(content[name], headers=headers)

    def page(name: str) -> Callable[[], Response]:
        return lambda: answer(name)

    for path, name in PAGES.items():
        app.add_api_route(path, page(name), include_in_schema=False)
    app.add_api_route("/static/{name}", answer, include_in_schema=False)


def _add_errors(app: FastAPI) -> None:
    """Have every error be JSON with one field, `error`."""

    @app.exception_handler(RequestError)
    async def known(_: Request, error: RequestError) -> JSONResponse:
        headers = {"retry-after": "2"} if error.status == 503 else None
        return _error(error.status, str(error), headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return _error(422, "; ".join(map(_problem, error.errors())))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(ClaidError)
    async def failed(_: Request, error: ClaidError) -> JSONResponse:
        logger.error("%s", error)
        return _error(500, str(error))

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        return _error(500, "something went wrong here: see the server's output")


def _problem(problem: dict[str, Any]) -> str:
    """Say which argument is wrong, and how."""
    where = [str(part) for part in problem["loc"][1:]]  # the first is "body", "query" or "path"
    what = str(problem["msg"]).removeprefix("Value error, ")
    return f"{'.'.join(where)}: {what}" if where else what


def _error(status: int, what: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": what}, status, headers)
