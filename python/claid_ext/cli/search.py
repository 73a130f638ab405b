"""`claid search`: where else a thing is."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from claid_ext.cli._runtime import add_runtime_options, given_running
from claid_ext.cli._stages import add_stage_options
from claid_ext.files import write_whole

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "search",
        help="find a thing again in an index",
        description="Find the images of an index that show a thing, and where it is. Stage 1 finds "
        "the images by the vectors of their regions, stage 2 the box on the maps of the best ones.",
    )
    parser.add_argument(
        "index",
        metavar="INDEX",
        help="made by `claid index` or `claid load`: a folder, or milvus:URI with --dataset",
    )
    parser.add_argument("query", type=Path, metavar="QUERY", help="an image")
    parser.add_argument(
        "--box",
        nargs=4,
        type=float,
        action="append",
        metavar=("x0", "y0", "x1", "y1"),
        help="box around the thing, in pixels; repeat for other views of it (default: the "
        "whole image)",
    )
    parser.add_argument(
        "--all-of",
        action="store_true",
        help="the boxes show different things, all of which are wanted",
    )
    parser.add_argument(
        "-k", type=int, default=10, metavar="K", help="how many images to return (default: 10)"
    )
    parser.add_argument(
        "--min-size",
        type=float,
        default=0.0,
        metavar="N",
        help="skip regions and boxes smaller than this, in square pixels (default: 0)",
    )
    parser.add_argument(
        "--images",
        metavar="PATTERN",
        help="search only images whose path matches, such as '*/2024/*'",
    )
    parser.add_argument("--draw", type=Path, metavar="PNG", help="write a picture of the results")
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write the results as one self-contained HTML page",
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument(
        "--likely",
        action="store_true",
        help="leave out images that probably do not show the thing; with the default networks, "
        "stage 2, and an index of 8 images or more",
    )
    add_stage_options(parser)
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print to stderr how long each stage took"
    )
    parser.add_argument(
        "--dataset", metavar="DATASET", help="where the records of milvus:URI are (claid extract)"
    )
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    add_runtime_options(parser, opens=True)


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns 0, even if nothing was found."""
    from claid_ext.search import Query, open_index, report
    from claid_ext.search.likely import LEAST_PHOTOS
    from claid_ext.stage_times import StageTimes

    query = Query(args.query, args.box, all_of=args.all_of)
    with open_index(
        args.index, dataset=args.dataset, device=args.device, **given_running(args)
    ) as index:
        times = StageTimes()
        hits = index.search(
            query,
            args.k,
            min_size=args.min_size,
            images=args.images,
            refine=args.refine,
            expand=args.expand,
            times=times,
        )[0]
    if args.likely:
        if hits and all(hit.likely is None for hit in hits):
            raise ValueError(
                f"--likely: {args.index} says of no image whether it is likely: that takes an "
                f"index of {LEAST_PHOTOS} images or more, made with efficientnet_lite0, and stage 2"
            )
        found, hits = bool(hits), [hit for hit in hits if hit.likely]
    if args.verbose:
        for stage, seconds in times.seconds.items():
            print(f"{stage + ':':<9}{seconds * 1000:8.1f} ms", file=sys.stderr)
    # Both are made before either is written: what fails leaves no files behind.
    sheet = None if args.draw is None else report.contact_sheet(query, hits)
    page = None if args.html is None else report.html_report(query, hits)
    if sheet is not None:
        write_whole(args.draw, partial(sheet.save, format="PNG"))
    if page is not None:
        write_whole(args.html, partial(Path.write_text, data=page, encoding="utf-8"))
    results = [asdict(hit) for hit in hits]
    if args.json:
        asked = {"image": str(args.query), "boxes": args.box, "all_of": args.all_of}
        print(json.dumps({"query": asked, "results": results}))
        return 0
    for rank, hit in enumerate(hits, 1):
        box = " ".join(f"{side:.0f}" for side in hit.box)
        probable = "" if hit.probability is None else f"  {hit.probability:4.0%}"
        print(f"{rank:3}  {hit.score:.3f}{probable}  [{box}]  {hit.image}")
    if not hits:
        nothing = f"nothing found: {args.index} holds no image in scope"
        print("probably not in these photos" if args.likely and found else nothing)
    return 0
