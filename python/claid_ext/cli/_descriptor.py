"""The options of a `RegionDescriptor` on the command line, the same for every command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.choices import POOLINGS
from claid_ext.cli._runtime import new_running

if TYPE_CHECKING:
    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.detector import Detector

__all__ = ["DEFAULT_DESCRIPTOR", "add_descriptor_options", "descriptor_from"]

DEFAULT_DESCRIPTOR = "resnet50"


def add_descriptor_options(parser: argparse.ArgumentParser) -> None:
    """Add --descriptor, --descriptor-weights, --pooling, --layer and --octaves."""
    group = parser.add_argument_group("descriptor")
    group.add_argument(
        "--descriptor",
        default=DEFAULT_DESCRIPTOR,
        metavar="NAME",
        help="resnet50, resnet101, vgg16, efficientnet_lite0, any network of timm, or tokens: "
        f"the detector's own features (default: {DEFAULT_DESCRIPTOR})",
    )
    group.add_argument(
        "--descriptor-weights",
        type=Path,
        metavar="FILE",
        help="local file with the descriptor's weights (default: the network's usual source)",
    )
    group.add_argument(
        "--pooling",
        choices=POOLINGS,
        help="how a region becomes one vector; only whitened also keeps maps, on which boxes are "
        "found (default: whitened)",
    )
    group.add_argument(
        "--layer",
        nargs="+",
        metavar="NAME",
        help="layers of the network to pool (default: those that suit it)",
    )
    group.add_argument(
        "--octaves",
        type=int,
        metavar="N",
        help="pool small regions on the photo enlarged 2, 4, ... times, N sizes in all; not for "
        "whitened (default: 1)",
    )


def descriptor_from(
    args: argparse.Namespace, detector: Detector | None, running: dict[str, Any] | None = None
) -> RegionDescriptor:
    """Load the RegionDescriptor that the options describe; "tokens" are those of `detector`.

    `running` takes the place of the options' own runtime and precision.
    """
    from claid_ext.descriptors import RegionDescriptor

    shared = detector if args.descriptor == "tokens" else None
    if running is None and shared is None:
        running = new_running(args)
    return RegionDescriptor(
        args.descriptor if shared is None else shared.backbone,
        weights=args.descriptor_weights,
        pooling=args.pooling or "whitened",
        layer=args.layer,
        octaves=args.octaves,
        device=args.device,
        **({} if shared is not None or running is None else running),
    )
