"""`claid serve`: mark a thing in one photo and see it in the others, in a browser."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from claid_ext.cli._runtime import add_runtime_options, given_running

if TYPE_CHECKING:
    from claid_ext.search.searcher import Searcher
    from claid_ext.serve import Settings

__all__ = ["add_parser", "add_serve_options", "run", "serve"]

HOST, PORT = "127.0.0.1", 7860
TOKEN = "CLAID_TOKEN"


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "serve",
        help="search an index from a page in the browser",
        description="Serve a page and an API for an index: choose a photo or drop one in, draw a "
        "box around a thing, and see the photos that show it. The page shows what is added "
        "meanwhile. Needs the extra [serve].",
    )
    parser.add_argument(
        "index",
        metavar="INDEX",
        help="made by `claid index` or `claid load`: a folder, or milvus:URI with --dataset",
    )
    parser.add_argument(
        "--dataset", metavar="DATASET", help="where the records of milvus:URI are (claid extract)"
    )
    add_serve_options(parser)
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    add_runtime_options(parser, opens=True)
    parser.add_argument("--open", action="store_true", help="open the page in a browser")


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the server."""
    group = parser.add_argument_group("server")
    group.add_argument(
        "--host",
        default=HOST,
        metavar="ADDRESS",
        help=f"where to listen (default: {HOST}, which other machines cannot reach)",
    )
    group.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"0 for any (default: {PORT})"
    )
    group.add_argument(
        "--token",
        metavar="TEXT",
        help=f"what visitors must know; needed where other machines reach the server (default: "
        f"{TOKEN} of the environment)",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name of this machine by which browsers may call it; repeat for more",
    )
    group.add_argument(
        "--follow-links",
        action="store_true",
        help="show photos that are symbolic links out of their folder",
    )
    group.add_argument(
        "--searches",
        type=int,
        default=2,
        metavar="N",
        help="how many searches run at once; each has the index's vectors in memory (default: 2)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted. Returns 0."""
    from claid_ext.search import open_index

    opening = partial(
        open_index,
        args.index,
        dataset=args.dataset,
        device=args.device,
        **given_running(args),
    )
    with opening() as index:  # whatever is wrong with it is told at once
        print(f"{args.index}: {len(index)} photos")
    return serve(opening, args, args.open)


def serve(
    open_index: Callable[[], Searcher],
    args: argparse.Namespace,
    open_page: bool,
    query: str = "",
) -> int:
    """Serve an index by the options of `add_serve_options`.

    Parameters
    ----------
    open_index : opens it.
    args : the options.
    open_page : whether to open the page in a browser.
    query : what the page shows first, as the part of its address behind the #.
    """
    try:
        from claid_ext.serve import run_server
    except ImportError as error:
        raise ImportError(f"{error}: pip install 'claid_ext[serve]'") from error

    def ready(address: str) -> None:
        address += f"#{query}" if query else ""
        print(f"serving at {address}\nstop with Ctrl+C", flush=True)
        if open_page:
            _open_page(address)

    run_server(open_index, host=args.host, port=args.port, settings=_settings(args), ready=ready)
    print("stopped")
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    from claid_ext.serve import Settings

    return Settings(
        token=args.token or os.environ.get(TOKEN) or None,
        hosts=tuple(args.allow_host),
        follow_links=args.follow_links,
        searches=args.searches,
    )


def _open_page(address: str) -> None:
    import sys
    import webbrowser

    # Without a display, a browser in the terminal would take it.
    shown = sys.platform in {"darwin", "win32"} or any(
        map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))
    )
    if shown:
        webbrowser.open(address)
