"""`claid index`: a folder of photos into an index to search."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.cli._descriptor import add_descriptor_options
from claid_ext.cli._detector import add_detector_options, detector_from

if TYPE_CHECKING:
    from claid_ext.index import InstanceIndex

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Describe the regions of photos and keep them in the folder INDEX, to be found with `claid search`.
Photos that are there and have not changed are passed over, so that the same command goes on where
it was stopped. Photos that cannot be used are listed at the end; the exit code is 1 then."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "index", help="index the regions of photos", description=_DESCRIPTION
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTOS", help="files, folders, patterns")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="INDEX", help="folder")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="readers of photos (2)")
    parser.add_argument(
        "--regions", default="detect", choices=("detect", "grid", "full", "rmac"), help="(detect)"
    )
    parser.add_argument(
        "--factory", default="Flat", metavar="F", help="faiss's description of the index (Flat)"
    )
    add_detector_options(parser)
    add_descriptor_options(parser)


def run(args: argparse.Namespace) -> int:
    """Do the command. Returns 0, or 1 where a photo could not be used; the others are in then."""
    from claid_ext.images import find_images

    missing: list[tuple[str, str]] = []
    photos = find_images(
        args.photos, on_error=lambda given, error: missing.append((given, str(error)))
    )
    if not photos:
        raise FileNotFoundError("; ".join(why for _, why in missing))
    with _open(args) as index:
        start = time.perf_counter()
        report = index.add(photos, workers=args.workers, progress=True)
        seconds = time.perf_counter() - start
        failed = missing + report.failed
        print(
            f"{args.output}: {report.added} added ({report.added / seconds:.1f} images/s), "
            f"{report.present} there before, {len(failed)} failed; {len(index)} images in all"
        )
    for path, why in failed:
        print(why if path in why else f"{path}: {why}", file=sys.stderr)
    return 1 if failed else 0


def _open(args: argparse.Namespace) -> InstanceIndex:
    """Open the index to go on with it, where there is one, or create it."""
    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.index import InstanceIndex

    tokens = args.descriptor == "tokens"
    needed = args.regions == "detect" or tokens
    detector = detector_from(args, keep_features=tokens) if needed else None
    assert detector is not None or not tokens
    descriptor = RegionDescriptor(
        detector.backbone if tokens and detector else args.descriptor,
        weights=args.descriptor_weights,
        pooling=args.pooling,
        layer=args.layer,
        levels=args.levels,
        device=args.device,
    )
    regions_detector = detector if args.regions == "detect" else None
    if (args.output / "manifest.json").is_file():
        return InstanceIndex.open(
            args.output, descriptor=descriptor, detector=regions_detector, scales=args.scales
        )
    return InstanceIndex.create(
        args.output,
        descriptor=descriptor,
        detector=regions_detector,
        regions=args.regions,
        scales=args.scales,
        factory=args.factory,
        pca=args.pca,
    )
