"""The options of the stages of a search on the command line, the same for every command."""

from __future__ import annotations

import argparse

from claid_ext.choices import EXPAND, REFINE

__all__ = ["add_stage_options"]


def add_stage_options(parser: argparse.ArgumentParser) -> None:
    """Add --refine and --expand."""
    parser.add_argument(
        "--refine",
        type=int,
        default=REFINE,
        metavar="N",
        help="search the maps of the best N images for the box; 0 turns it off "
        f"(default: {REFINE})",
    )
    parser.add_argument(
        "--expand",
        type=int,
        default=EXPAND,
        metavar="N",
        help=f"expand the query by the best N images; 0 turns it off (default: {EXPAND})",
    )
