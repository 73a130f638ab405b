"""The options of a `Detector` on the command line, the same for every command that has one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.choices import MAX_REGIONS
from claid_ext.cli._runtime import add_runtime_options, new_running

if TYPE_CHECKING:
    from claid_ext.detector import Detector

__all__ = [
    "DEFAULT_BACKBONE",
    "add_detector_options",
    "detect_options",
    "detector_from",
    "detector_settings",
]

DEFAULT_BACKBONE = "dino_vitb8"

_NUMBERS: dict[str, tuple[Any, str]] = {
    "tau": (float, "patches more similar than this are linked (default: the backbone's)"),
    "connectivity": (float, "regions with at least this share of linked pairs are not cut further"),
    "energy_top": (float, "share of patches that count as high-energy"),
    "dominance": (float, "regions with at most this share of high-energy patches are dummies"),
    "min_patches": (int, "smallest region in patches (default: the backbone's)"),
    "seed": (int, "seed of the order in which k-sums visits patches"),
    "max_passes": (int, "maximum number of k-sums sweeps per cut"),
    "threads": (int, "CPU threads for the regions; the result does not depend on it"),
}
_CHOICES = {"init": ("seeds", "random"), "preset": ("released",)}


def add_detector_options(parser: argparse.ArgumentParser, *, opens: bool = False) -> None:
    """Add --backbone, --weights, --device, --batch-size, --scales, the options of detect.

    And those of what runs networks; `opens`: whether the command may open an index.
    """
    group = parser.add_argument_group("detector")
    group.add_argument(
        "--backbone",
        default=DEFAULT_BACKBONE,
        metavar="NAME",
        help=f"one of `claid backbones`, or any ViT of timm (default: {DEFAULT_BACKBONE})",
    )
    group.add_argument("--weights", type=Path, metavar="FILE", help="local file with its weights")
    group.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add_runtime_options(group, opens=opens)
    group.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images of equal size per forward pass (default: 16 on a GPU, else 1)",
    )
    group.add_argument(
        "--scales",
        nargs="+",
        type=float,
        metavar="X",
        help="sizes of the photo at which regions are looked for, 1 being the paper's; larger ones "
        "find smaller things and take longer (default: 1)",
    )
    group.add_argument(
        "--max-regions",
        type=int,
        default=MAX_REGIONS,
        metavar="N",
        help="maximum number of regions per photo; the most overlapping ones are dropped first "
        f"(default: {MAX_REGIONS})",
    )
    for name, (kind, what) in _NUMBERS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=what)
    for name, choices in _CHOICES.items():
        group.add_argument(f"--{name}", choices=choices, help="see docs/features.md")


def detect_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of claid_ext.detect that were given."""
    given = {name: getattr(args, name) for name in (*_NUMBERS, *_CHOICES)}
    return {name: value for name, value in given.items() if value is not None}


def detector_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what decides the regions, as JSON, without loading any weights."""
    from claid_ext.backbones import BACKBONES, running_of

    spec = BACKBONES.get(args.backbone)
    options = {"tau": spec.tau, "min_patches": spec.min_patches} if spec else {}
    options |= detect_options(args)
    options.pop("threads", None)
    weights = None
    if args.weights is not None:
        status = args.weights.stat()
        weights = [os.path.abspath(args.weights), status.st_size, status.st_mtime_ns]  # noqa: PTH100
    return {
        "backbone": args.backbone,
        "weights": weights,
        "scales": args.scales or [1.0],
        "max_regions": args.max_regions,
        "options": options,
        **running_of(args.backbone, device=args.device, **new_running(args))._asdict(),
    }


def detector_from(
    args: argparse.Namespace, running: dict[str, Any] | None = None, **more: Any
) -> Detector:
    """Load the Detector that the options describe; `running` takes the place of theirs."""
    from claid_ext.detector import Detector

    return Detector(
        args.backbone,
        weights=args.weights,
        device=args.device,
        batch_size=args.batch_size,
        **(new_running(args) if running is None else running),
        **more,
        **detect_options(args),
    )
