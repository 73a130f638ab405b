"""The options of what finds and describes regions, for what keeps those it was made with."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
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
from claid_ext.cli._regions import add_file_options, check_file_options, file_options
from claid_ext.cli._runtime import given_running, new_running
from claid_ext.regions import region_source

if TYPE_CHECKING:
    from claid_ext.describing import Descriptor
    from claid_ext.regions import RegionSource

__all__ = ["add_network_options", "calibrate", "networks_from"]

_REGIONS = (
    *("regions", "backbone", "weights", "scales", "max_regions"),
    *("regions_file", "images_json", "regions_min_score"),
)
"""Options that ask for other regions than an index has."""


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add --regions, --pca and the options of detector and descriptor; None for all not given."""
    parser.add_argument(
        "--regions", choices=REGION_SOURCES, help="where regions come from (default: detect)"
    )
    parser.add_argument(
        "--pca", type=int, metavar="N", help="length of the whitened vectors (default: 208)"
    )
    add_file_options(parser)
    add_detector_options(parser, opens=True)
    add_descriptor_options(parser)
    # None stands for "not given": what is there then keeps what it has.
    parser.set_defaults(backbone=None, descriptor=None, max_regions=None)


def networks_from(
    args: argparse.Namespace, recipes: Mapping[str, Any] | None
) -> tuple[RegionSource | None, Descriptor | None]:
    """Make what the options ask for; None for a part that is not asked for.

    Parameters
    ----------
    args : the options.
    recipes : of what is there already, which options that were not given are taken from; None to
        make both parts, for something new.
    """
    new = recipes is None
    asks_regions = _asked(args, *_REGIONS) or any(
        name != "threads" for name in detect_options(args)
    )
    asks_vectors = _asked(args, "descriptor", "descriptor_weights", "pooling", "layer", "octaves")
    running = {part: new_running(args) for part in ("regions", "descriptor")}
    if recipes is not None:
        running |= _take_from(args, recipes)
    args.regions = args.regions or "detect"
    check_file_options(args, [args.regions])
    args.backbone = args.backbone or DEFAULT_BACKBONE
    args.descriptor = args.descriptor or DEFAULT_DESCRIPTOR
    source = descriptor = detector = None
    tokens = asks_vectors and args.descriptor == "tokens"
    if ((new or asks_regions) and args.regions == "detect") or tokens:
        detector = detector_from(args, running["regions"], keep_features=tokens)
    if new or asks_regions:
        source = region_source(
            args.regions,
            detector if args.regions == "detect" else None,
            args.scales,
            max_regions=MAX_REGIONS if args.max_regions is None else args.max_regions,
            **file_options(args, args.regions, masks=args.pooling == "mask"),
        )
    if new or asks_vectors:
        descriptor = descriptor_from(args, detector, running["descriptor"])
    return source, descriptor


def calibrate(parts: Sequence[RegionSource | Descriptor | None], photos: Sequence[Any]) -> None:
    """Calibrate networks of int8 on photos, where that is still to be done."""
    for part in parts:
        made_ready = getattr(part, "calibrate", None)
        if made_ready is not None:
            made_ready(photos)


def _take_from(args: argparse.Namespace, recipes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Let the index's own be what was not asked for, so that an option alone means that option.

    Of a network that is another than the index's, nothing is taken. Returns what runs the others.
    """
    from claid_ext.search.recipes import Running

    as_given = Running(args.device, **given_running(args))
    running: dict[str, dict[str, Any]] = {}
    regions, vectors = recipes["regions"] or {}, recipes["descriptor"] or {}
    tokens = vectors.get("recipe") == "tokens"
    if args.regions in {None, "detect"} and regions.get("recipe") == "detect":
        own = {"scales": regions["scales"], "max_regions": regions["max_regions"]}
        if _fill(args, "backbone", regions["backbone"], {**own, **regions["options"]}):
            running["regions"] = as_given.choice(regions)
    elif tokens and _fill(args, "backbone", vectors["backbone"], {}):
        running["regions"] = as_given.choice(vectors)
    if args.regions in {None, "file"} and regions.get("recipe") == "file":
        _take_file(args, regions)
    if tokens:
        _fill(args, "descriptor", {"name": "tokens"}, {"pooling": vectors["pooling"]})
    elif vectors.get("recipe") == "network":
        own = {"octaves": vectors["octaves"], "pooling": vectors["pooling"]}
        if _fill(args, "descriptor", vectors, {**own, "layer": vectors["layers"]}):
            running["descriptor"] = as_given.choice(vectors)
    return running


def _take_file(args: argparse.Namespace, recipe: Mapping[str, Any]) -> None:
    """Let the index's file, and how it is read, be what was not asked for."""
    from claid_ext.search.recipes import make_source

    args.regions = "file"
    if args.regions_file is None:
        make_source(recipe)  # which checks that it has not changed
        args.regions_file, args.images_json = recipe["file"], recipe["images_json"]
    for option, name in (("regions_min_score", "min_score"), ("max_regions", "max_regions")):
        if getattr(args, option) is None:
            setattr(args, option, recipe[name])


def _fill(
    args: argparse.Namespace, network: str, recipe: Mapping[str, Any], own: Mapping[str, Any]
) -> bool:
    """Take a network's name, weights and options from its recipe, unless another is asked for."""
    if getattr(args, network) not in {None, recipe["name"]}:
        return False
    weights = "weights" if network == "backbone" else "descriptor_weights"
    file = recipe.get("weights")
    taken = {network: recipe["name"], weights: file and Path(file), **own}
    for name, value in taken.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return True


def _asked(args: argparse.Namespace, *names: str) -> bool:
    return any(getattr(args, name) is not None for name in names)
