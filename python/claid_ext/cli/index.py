"""`claid index`: photos into an index to search."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.cli._networks import add_network_options, calibrate, networks_from
from claid_ext.cli._runtime import given_running
from claid_ext.stage_times import StageTimes

if TYPE_CHECKING:
    from claid_ext.search import InstanceIndex

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Describe the regions of photos and store them in the folder INDEX, where `claid search` finds them.
Re-running processes only new and changed photos. An index keeps the options it was made with:
leave them out to add to it; asking for others is an error. Photos that cannot be used are listed at
the end, and the exit code is then 1."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "index", help="index the regions of photos", description=_DESCRIPTION
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTOS", help="files, folders, patterns")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="INDEX", help="folder")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="threads that read photos (default: 2)"
    )
    parser.add_argument(
        "--factory",
        metavar="F",
        help="faiss index factory string, such as IVF4096,PQ64 (default: Flat)",
    )
    parser.add_argument(
        "--probes", type=int, metavar="N", help="cells searched of an IVF index (default: 32)"
    )
    parser.add_argument(
        "--refit",
        action="store_true",
        help="afterwards read all photos again, fit the index's basis to them and recode them",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print to stderr where the time went"
    )
    add_network_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns 0, or 1 if a photo could not be used; the others are stored."""
    from claid_ext.images import find_images

    missing: list[tuple[str, str]] = []
    photos = find_images(
        args.photos, on_error=lambda given, error: missing.append((given, str(error)))
    )
    if not photos:
        raise FileNotFoundError("; ".join(why for _, why in missing))
    with _open(args, photos) as index:
        start = time.perf_counter()
        times = StageTimes()
        report = index.add(photos, workers=args.workers, progress=True, times=times)
        seconds = time.perf_counter() - start
        if args.refit:
            print(f"basis fitted to {index.refit(progress=True)} photos")
        failed = missing + report.failed
        print(
            f"{args.output}: {report.added} added ({report.added / seconds:.1f} images/s), "
            f"{report.present} already present, {len(failed)} failed; {len(index)} images in total"
        )
    if args.verbose:
        _print_times(times, report.added, seconds)
    if report.no_own_basis:
        print(
            f"{args.output} keeps the basis shipped for its network: {report.no_own_basis}. Remove "
            "photos that are gone, add again those that have changed, and use --refit",
            file=sys.stderr,
        )
    for path, why in failed:
        print(why if path in why else f"{path}: {why}", file=sys.stderr)
    return 1 if failed else 0


def _print_times(times: StageTimes, photos: int, seconds: float) -> None:
    """Say what each stage took; those that ran at the same time exceed the clock together."""
    print(f"{'stage':<12}{'s':>8}{'ms a photo':>12}", file=sys.stderr)
    for name, taken in [*times.seconds.items(), ("by the clock", seconds)]:
        each = f"{1000 * taken / photos:12.1f}" if photos else ""
        print(f"{name:<12}{taken:8.2f}{each}", file=sys.stderr)


def _open(args: argparse.Namespace, photos: list[Path]) -> InstanceIndex:
    """Open the index if there is one, or create it."""
    from claid_ext.index.manifest import has_manifest, read_manifest
    from claid_ext.search import InstanceIndex
    from claid_ext.search.recipes import Running

    there = has_manifest(args.output)
    source, descriptor = networks_from(
        args, read_manifest(args.output)["recipes"] if there else None
    )
    calibrate((source, descriptor), photos)
    return InstanceIndex.open_or_create(
        args.output,
        descriptor=descriptor,
        regions=source,
        factory=args.factory,
        pca=args.pca,
        probes=args.probes,
        running=Running(args.device, args.threads, args.batch_size, **given_running(args)),
    )
