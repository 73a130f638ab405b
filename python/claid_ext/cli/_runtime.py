"""The options of what runs networks on the command line, the same for every command."""

from __future__ import annotations

import argparse
from typing import Any

from claid_ext.choices import PRECISIONS, RUNTIMES

__all__ = ["add_runtime_options", "given_running", "new_running"]


def add_runtime_options(parser: Any, *, opens: bool = False) -> None:
    """Add --runtime and --precision; and --allow-runtime where an index may be opened."""
    own = "; of an index or data set, its own" if opens else ""
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="what runs the networks; openvino comes with the extra [fast], and auto takes it on "
        f"CPUs that have bfloat16 (default: auto{own})",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="in which numbers; int8 is calibrated on 24 of the photos at first use (default: "
        f"auto, bfloat16 by openvino and float32 by torch{own})",
    )
    if opens:
        parser.add_argument(
            "--allow-runtime",
            action="store_true",
            help="let runtime and precision be others than an index or data set was made with; "
            "vectors then differ a little from stored ones",
        )


def new_running(args: argparse.Namespace) -> dict[str, Any]:
    """Return runtime and precision of a network that is made anew, as arguments."""
    return {"runtime": args.runtime or "auto", "precision": args.precision or "auto"}


def given_running(args: argparse.Namespace) -> dict[str, Any]:
    """Return runtime, precision and allow_runtime to open something with, as arguments."""
    return {
        "runtime": args.runtime,
        "precision": args.precision,
        "allow_runtime": args.allow_runtime,
    }
