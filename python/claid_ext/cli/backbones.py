"""`claid backbones`: the named backbones, and which are at hand."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from claid_ext.errors import WeightsUnavailableError

if TYPE_CHECKING:
    from claid_ext.backbones import BackboneSpec

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    subparsers.add_parser(
        "backbones",
        help="list the named backbones",
        description="List the named backbones, with their defaults and where their weights are. "
        "Any other ViT of timm can be named as well.",
    )


def run(args: argparse.Namespace) -> int:
    """Print the table. Returns 0."""
    from claid_ext.backbones import BACKBONES

    rows: list[tuple[str, ...]] = [
        ("name", "patch", "dim", "tau", "min_patches", "weights from", "here now")
    ]
    for spec in BACKBONES.values():
        origin = f"package {spec.package.distribution}" if spec.package else f"hub {spec.hub_name}"
        numbers = (spec.patch_size, spec.dim, f"{spec.tau:g}", spec.min_patches)
        rows.append((spec.name, *map(str, numbers), origin, _here(spec)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
    return 0


def _here(spec: BackboneSpec) -> str:
    from claid_ext.backbones.hub import cached_file

    if spec.package:
        try:
            return "yes" if spec.package.find() else "no"
        except WeightsUnavailableError:
            return "no"
    try:
        return "yes, in the hub's cache" if cached_file(spec.timm_name) else "no, at first use"
    except ImportError:
        return "no, needs the extra [torch]"
