"""The options of regions from a file on the command line, the same for every command."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

__all__ = ["add_file_options", "check_file_options", "file_options"]

_OPTIONS = ("regions_file", "images_json", "regions_min_score")


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add --regions-file, --images-json and --regions-min-score."""
    group = parser.add_argument_group("regions from a file (--regions file)")
    group.add_argument(
        "--regions-file",
        type=Path,
        metavar="FILE",
        help="COCO results or a COCO data set, or a folder of one JSON file per photo, as of "
        "CutLER, Segment Anything or detectron2",
    )
    group.add_argument(
        "--images-json",
        type=Path,
        metavar="FILE",
        help="COCO JSON that says which photo an image_id of the results is",
    )
    group.add_argument(
        "--regions-min-score", type=float, metavar="X", help="leave out regions of a lower score"
    )


def check_file_options(args: argparse.Namespace, regions: Collection[str]) -> None:
    """Raise ValueError if an option of a file is given, and "file" is not among the regions."""
    for name in _OPTIONS:
        if getattr(args, name) is not None and "file" not in regions:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} is for --regions file, got --regions {' '.join(regions)}")


def file_options(args: argparse.Namespace, name: str, *, masks: bool = False) -> dict[str, Any]:
    """Return the arguments of `region_source` that the options stand for, if `name` is "file"."""
    if name != "file":
        return {}
    if args.regions_file is None:
        raise ValueError("--regions file needs --regions-file FILE")
    return {
        "file": args.regions_file,
        "images_json": args.images_json,
        "min_score": args.regions_min_score,
        "masks": masks,
    }
