"""The options of a `RegionDescriptor` on the command line, the same for every command."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_descriptor_options"]

POOLINGS = ("mean", "max", "gem", "mask", "cells")


def add_descriptor_options(parser: argparse.ArgumentParser) -> None:
    """Add --descriptor, --descriptor-weights, --pooling, --layer, --levels, --pca and --scales."""
    group = parser.add_argument_group("descriptor")
    group.add_argument(
        "--descriptor",
        default="resnet50",
        metavar="NAME",
        help="resnet50, resnet101, vgg16, efficientnet_lite0, any network of timm, or tokens: "
        "the detector's own features (default: resnet50)",
    )
    group.add_argument(
        "--descriptor-weights", type=Path, metavar="FILE", help="local file with its weights"
    )
    group.add_argument(
        "--pooling",
        choices=POOLINGS,
        help="over a region (default: cells for efficientnet_lite0, gem for all others)",
    )
    group.add_argument(
        "--layer", nargs="+", metavar="NAME", help="of the network (default: what suits it)"
    )
    group.add_argument(
        "--levels",
        type=int,
        metavar="N",
        help="of a pyramid of images (default: 2 for efficientnet_lite0, 1 for all others)",
    )
    group.add_argument(
        "--scales",
        nargs="+",
        type=float,
        metavar="X",
        help="of the photo at which regions are looked for; larger ones find smaller things "
        "(default: 1 1.5 2.25 for focus_vits14, 1 for all others)",
    )
    group.add_argument(
        "--pca", type=int, metavar="N", help="dimensions of a PCA-whitening (default: none)"
    )
