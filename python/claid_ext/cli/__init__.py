"""The command line, `claid COMMAND`: each module here is a command with `add_parser` and `run`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from claid_ext._version import __version__
from claid_ext.errors import ClaidError

__all__ = ["main"]

COMMANDS = (
    "detect",
    "index",
    "search",
    "serve",
    "extract",
    "load",
    "eval",
    "bench",
    "backbones",
    "doctor",
    "demo",
)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line as one parser; importing it imports neither torch nor faiss."""
    parser = argparse.ArgumentParser(
        prog="claid",
        description="Find every instance-like region in an image, and find that thing again.",
    )
    parser.add_argument("--version", action="version", version=f"claid_ext {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"{__name__}.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 for success, 1 for failure, 2 for wrong usage."""
    args = build_parser().parse_args(argv)
    command = importlib.import_module(f"{__name__}.{args.command}")
    try:
        return int(command.run(args))
    except (ClaidError, OSError, ValueError, TypeError, ImportError) as error:
        print(f"claid {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"claid {args.command}: interrupted", file=sys.stderr)
        return 130
