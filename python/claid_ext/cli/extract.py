"""`claid extract`: photos into the records of a data set, on one machine or a cluster."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING, Any

from claid_ext.cli._networks import add_network_options, calibrate, networks_from
from claid_ext.cli._runtime import given_running
from claid_ext.scale.engines import ENGINES

if TYPE_CHECKING:
    from claid_ext.images import Photo
    from claid_ext.scale import DataSet
    from claid_ext.scale.dataset import Listed

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Turn photos into records, and write them to the data set DATASET: a folder, or a URI such as
s3://bucket/folder. `claid load` then brings them into a store to search. Re-running processes only
new and changed photos, and what a killed run left undone. A data set keeps the options it was made
with. Photos that cannot be used are listed in it and at the end, and the exit code is then 1."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "extract", help="photos into records, on many machines", description=_DESCRIPTION
    )
    parser.add_argument(
        "photos",
        nargs="+",
        metavar="PHOTOS",
        help="files, folders, patterns, URIs; LISTING.parquet with a column uri",
    )
    parser.add_argument("-o", "--output", required=True, metavar="DATASET", help="folder or URI")
    parser.add_argument(
        "--remove", action="store_true", help="remove these photos from the data set instead"
    )
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--engine", choices=ENGINES, default="local", help="what runs the work (default: local)"
    )
    group.add_argument(
        "--address", metavar="ADDR", help="of a Ray cluster (default: one started here)"
    )
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes with networks of their own (default: one per CPU, of a cluster's CPUs all "
        "but one)",
    )
    group.add_argument(
        "--gpus-per-worker",
        type=float,
        default=0.0,
        metavar="F",
        help="GPUs, or a part of one, for each worker of Ray (default: 0)",
    )
    add_network_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns 0, or 1 if a photo could not be used; the others have records."""
    from claid_ext.scale import DataSet, extract, plan, remove
    from claid_ext.scale.dataset import MANIFEST
    from claid_ext.scale.engines import Options
    from claid_ext.scale.files import Files

    missing: list[tuple[str, str]] = []
    if args.remove:
        dataset = DataSet(args.output)
        photos = [photo.uri for photo in _photos(args.photos, missing, gone=True)]
        print(f"{args.output}: {remove(dataset, photos)} removed")
        return 0
    there = Files(args.output).exists(MANIFEST)
    photos_listed = _photos(args.photos, missing)
    if not photos_listed:
        raise FileNotFoundError("; ".join(why for _, why in missing))
    dataset = _open(args) if there else _create(args, [photo.uri for photo in photos_listed])
    planned = plan(dataset, photos_listed)
    done = extract(
        dataset,
        engine=args.engine,
        options=Options(args.workers, args.address, args.gpus_per_worker),
        device=args.device,
        threads=args.threads or 1,
        **given_running(args),
        progress=True,
    )
    failed = missing + done.bad
    rate = done.photos / done.seconds if done.seconds else 0.0
    print(
        f"{args.output}: {planned.new} new, {planned.changed} changed, {planned.present} known; "
        f"{done.shards} shards extracted ({rate:.1f} photos/s), {done.present} already there; "
        f"{done.regions} regions, {len(failed)} bad photos"
    )
    for path, why in failed:
        print(why if path in why else f"{path}: {why}", file=sys.stderr)
    return 1 if failed else 0


def _photos(
    given: list[str], missing: list[tuple[str, str]], *, gone: bool = False
) -> list[Listed]:
    """List what is given; `gone`: files need not be there."""
    from claid_ext.images import find_images
    from claid_ext.scale.files import is_uri
    from claid_ext.scale.planning import listed

    listings = [one for one in given if is_uri(one) or one.lower().endswith(".parquet")]
    paths = [one for one in given if one not in listings]
    found = (
        paths
        if gone
        else [
            str(path)
            for path in find_images(
                paths, on_error=lambda one, error: missing.append((one, str(error)))
            )
        ]
    )
    return [*listed(listings), *listed(found)]


def _create(args: argparse.Namespace, uris: list[str]) -> DataSet:
    from claid_ext.describing import RegionDescriber
    from claid_ext.scale import create

    source, descriptor = networks_from(args, None)
    assert source is not None
    assert descriptor is not None
    if args.precision == "int8":
        calibrate((source, descriptor), _sample(uris))
    return create(args.output, RegionDescriber(source, descriptor), uris, pca=args.pca)


def _sample(uris: list[str]) -> list[Photo]:
    """Read photos to calibrate networks on."""
    from claid_ext.backbones.runtimes.converted import CALIBRATION_PHOTOS
    from claid_ext.errors import UnreadableImageError
    from claid_ext.scale.shard import read_listed
    from claid_ext.search.fitting import spread

    photos = []
    for uri in spread(uris, 2 * CALIBRATION_PHOTOS):
        with contextlib.suppress(UnreadableImageError):
            photos.append(read_listed(uri))
        if len(photos) == CALIBRATION_PHOTOS:
            break
    return photos


def _open(args: argparse.Namespace) -> DataSet:
    """Open the data set, which must be made with the options that are given."""
    from claid_ext.scale import DataSet
    from claid_ext.scale.planning import check_options

    dataset = DataSet(args.output)
    source, descriptor = networks_from(args, dataset.manifest["recipes"])
    parts = {"regions": source, "descriptor": descriptor}
    given: dict[str, Any] = {name: its.manifest() for name, its in parts.items() if its is not None}
    if args.pca is not None:
        given["pca"] = args.pca
    check_options(dataset, given, allow_runtime=args.allow_runtime)
    return dataset
