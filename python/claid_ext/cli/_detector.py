"""The options of a `Detector` on the command line, the same for every command that has one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claid_ext.detector import Detector

__all__ = ["add_detector_options", "detector_from", "detector_settings"]

_NUMBERS: dict[str, tuple[Any, str]] = {
    "tau": (float, "patches more similar than this are linked (default: what suits the backbone)"),
    "connectivity": (float, "regions with a larger share of linked pairs are cut no further"),
    "energy_top": (float, "share of patches that count as of high energy"),
    "dominance": (float, "regions with at most this share of them are dummies"),
    "min_patches": (int, "smallest region in patches (default: what suits the backbone)"),
    "seed": (int, "of the visiting order"),
    "max_passes": (int, "sweeps of k-sums in one cut, at most"),
    "threads": (int, "CPU threads for the regions; never changes the answer"),
}
_CHOICES = {"init": ("seeds", "random"), "preset": ("released",)}


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """Add --backbone, --weights, --device, --batch-size and the options of claid_ext.detect."""
    group = parser.add_argument_group("detector")
    group.add_argument(
        "--backbone",
        default="dino_vitb8",
        metavar="NAME",
        help="see `claid backbones`; or any ViT of timm (default: dino_vitb8)",
    )
    group.add_argument("--weights", type=Path, metavar="FILE", help="local file with its weights")
    group.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    group.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images of equal size at once (default: 16 on a GPU, else 1)",
    )
    for name, (kind, what) in _NUMBERS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=what)
    for name, choices in _CHOICES.items():
        group.add_argument(f"--{name}", choices=choices, help="see docs/detector.md")


def detect_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of claid_ext.detect that were given."""
    given = {name: getattr(args, name) for name in (*_NUMBERS, *_CHOICES)}
    return {name: value for name, value in given.items() if value is not None}


def detector_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what decides the regions, as JSON, without loading any weights."""
    from claid_ext.backbones import BACKBONES

    spec = BACKBONES.get(args.backbone)
    options = {"tau": spec.tau, "min_patches": spec.min_patches} if spec else {}
    options |= detect_options(args)
    options.pop("threads", None)
    weights = None
    if args.weights is not None:
        status = args.weights.stat()
        weights = [os.path.abspath(args.weights), status.st_size, status.st_mtime_ns]  # noqa: PTH100
    return {"backbone": args.backbone, "weights": weights, "options": options}


def detector_from(args: argparse.Namespace, **more: Any) -> Detector:
    """Load the Detector that the options describe."""
    from claid_ext.detector import Detector

    return Detector(
        args.backbone,
        weights=args.weights,
        device=args.device,
        batch_size=args.batch_size,
        **more,
        **detect_options(args),
    )
