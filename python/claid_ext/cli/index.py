"""`claid index`: photos into an index to search."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.choices import MAX_REGIONS, REGION_SOURCES
from claid_ext.cli._descriptor import DEFAULT_DESCRIPTOR, add_descriptor_options, descriptor_from
from claid_ext.cli._detector import (
    DEFAULT_BACKBONE,
    add_detector_options,
    detect_options,
    detector_from,
)
from claid_ext.regions import region_source

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
        "--regions", choices=REGION_SOURCES, help="where regions come from (default: detect)"
    )
    parser.add_argument(
        "--factory",
        metavar="F",
        help="faiss index factory string, such as IVF4096,PQ64 (default: Flat)",
    )
    parser.add_argument(
        "--pca", type=int, metavar="N", help="length of the whitened vectors (default: 208)"
    )
    parser.add_argument(
        "--probes", type=int, metavar="N", help="cells searched of an IVF index (default: 32)"
    )
    parser.add_argument(
        "--refit",
        action="store_true",
        help="afterwards read all photos again, fit the index's basis to them and recode them",
    )
    add_detector_options(parser)
    add_descriptor_options(parser)
    # None stands for "not given": an existing index then keeps what it has.
    parser.set_defaults(backbone=None, descriptor=None, max_regions=None)


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns 0, or 1 if a photo could not be used; the others are stored."""
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
        if args.refit:
            print(f"basis fitted to {index.refit(progress=True)} photos")
        failed = missing + report.failed
        print(
            f"{args.output}: {report.added} added ({report.added / seconds:.1f} images/s), "
            f"{report.present} already present, {len(failed)} failed; {len(index)} images in total"
        )
    if report.no_own_basis:
        print(
            f"{args.output} keeps the basis shipped for its network: {report.no_own_basis}. Remove "
            "photos that are gone, add again those that have changed, and use --refit",
            file=sys.stderr,
        )
    for path, why in failed:
        print(why if path in why else f"{path}: {why}", file=sys.stderr)
    return 1 if failed else 0


def _open(args: argparse.Namespace) -> InstanceIndex:
    """Open the index if there is one, or create it.

    Options that were not given are the index's own.
    """
    from claid_ext.index.manifest import has_manifest, read_manifest
    from claid_ext.search import InstanceIndex
    from claid_ext.search.recipes import Running

    new = not has_manifest(args.output)
    asks_regions = _asked(args, "regions", "backbone", "weights", "scales", "max_regions") or any(
        name != "threads" for name in detect_options(args)
    )
    asks_vectors = _asked(args, "descriptor", "descriptor_weights", "pooling", "layer", "octaves")
    if not new:
        _take_from(args, read_manifest(args.output)["recipes"])
    args.regions = args.regions or "detect"
    args.backbone = args.backbone or DEFAULT_BACKBONE
    args.descriptor = args.descriptor or DEFAULT_DESCRIPTOR
    source = descriptor = detector = None
    tokens = asks_vectors and args.descriptor == "tokens"
    if ((new or asks_regions) and args.regions == "detect") or tokens:
        detector = detector_from(args, keep_features=tokens)
    if new or asks_regions:
        source = region_source(
            args.regions,
            detector if args.regions == "detect" else None,
            args.scales,
            max_regions=MAX_REGIONS if args.max_regions is None else args.max_regions,
        )
    if new or asks_vectors:
        descriptor = descriptor_from(args, detector)
    return InstanceIndex.open_or_create(
        args.output,
        descriptor=descriptor,
        regions=source,
        factory=args.factory,
        pca=args.pca,
        probes=args.probes,
        running=Running(args.device, args.threads, args.batch_size),
    )


def _take_from(args: argparse.Namespace, recipes: Mapping[str, Any]) -> None:
    """Let the index's own be what was not asked for, so that an option alone means that option.

    Of a network that is another than the index's, nothing is taken.
    """
    regions, vectors = recipes["regions"] or {}, recipes["descriptor"] or {}
    tokens = vectors.get("recipe") == "tokens"
    if args.regions in {None, "detect"} and regions.get("recipe") == "detect":
        own = {"scales": regions["scales"], "max_regions": regions["max_regions"]}
        _fill(args, "backbone", regions["backbone"], {**own, **regions["options"]})
    elif tokens:
        _fill(args, "backbone", vectors["backbone"], {})
    if tokens:
        _fill(args, "descriptor", {"name": "tokens"}, {"pooling": vectors["pooling"]})
    elif vectors.get("recipe") == "network":
        own = {"octaves": vectors["octaves"], "pooling": vectors["pooling"]}
        _fill(args, "descriptor", vectors, {**own, "layer": vectors["layers"]})


def _fill(
    args: argparse.Namespace, network: str, recipe: Mapping[str, Any], own: Mapping[str, Any]
) -> None:
    """Take a network's name, weights and options from its recipe, unless another is asked for."""
    if getattr(args, network) not in {None, recipe["name"]}:
        return
    weights = "weights" if network == "backbone" else "descriptor_weights"
    file = recipe.get("weights")
    taken = {network: recipe["name"], weights: file and Path(file), **own}
    for name, value in taken.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def _asked(args: argparse.Namespace, *names: str) -> bool:
    return any(getattr(args, name) is not None for name in names)
