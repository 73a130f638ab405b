"""Index a data set, ask all its queries, and print the answers in full, to compare two checkouts.

    python bench/seam_check.py DATA WORK > before.json     # then the same with the other checkout
    diff before.json after.json                            # no difference: the same answers

DATA is a folder with references.json and queries.json (docs/evaluation.md); WORK a folder for the
index, which is deleted first. Regions are found at scale 1 with one thread everywhere, so that a
checkout gives the same file every time. Floats are printed with all their digits, and image names
relative to DATA. Only public names of claid_ext are used.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claid_ext import Detector, InstanceIndex, Query, RegionDescriptor
from claid_ext.evaluation import load_search
from claid_ext.evaluation.scoring import Ranking, score

K = 10
SCALES = (1.0,)


def create(work: Path, backbone: str, descriptor: str) -> InstanceIndex:
    """Make an empty index, whichever way this checkout takes the scales."""
    if work.exists():
        if not (work / "manifest.json").is_file():
            raise SystemExit(f"{work} is not an index: not deleting it")
        shutil.rmtree(work)
    detector = Detector(backbone, threads=1)
    options: dict[str, Any] = {"descriptor": RegionDescriptor(descriptor)}
    known = inspect.signature(InstanceIndex.create).parameters
    if "scales" in known:
        options |= {"detector": detector, "scales": SCALES}
    else:
        from claid_ext.regions import region_source

        name = next(name for name in ("source", "regions") if name in known)
        options[name] = region_source("detect", detector, SCALES)
    return InstanceIndex.create(work, **options)


def answers(index: InstanceIndex, data: Path) -> dict[str, Any]:
    """Return the hits of every query and the figures of merit of the whole set."""
    found = load_search("folder", data)
    report = index.add([str(path) for path in found.images])
    queries = [Query(query.image, query.boxes) for query in found.queries]
    place = {str(image): number for number, image in enumerate(found.images)}  # DATA is absolute
    everything = index.search(queries, len(found.images))
    rankings = [
        Ranking(np.array([place[hit.image] for hit in hits]), np.array([hit.box for hit in hits]))
        for hits in everything
    ]
    scores = score(found, rankings)
    return {
        "images": len(index),
        "failed": len(report.failed),
        "dim": index.dim,
        "queries": {
            query.name: {
                "vectors": len(vectors),
                "hits": [
                    {
                        "image": os.path.relpath(hit.image, data),
                        "box": [repr(float(side)) for side in hit.box],
                        "score": repr(float(hit.score)),
                        "level": hit.level,
                    }
                    for hit in hits
                ],
            }
            for query, vectors, hits in zip(
                found.queries, index.describe(queries), index.search(queries, K), strict=True
            )
        },
        "regions": repr(index).rpartition(", ")[2].removesuffix(")"),
        "figures": {
            **{name: repr(value) for name, value in scores.average_precision.items()},
            "localised": repr(scores.localised),
            "mean_iou": repr(scores.mean_iou),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with references.json and queries.json")
    parser.add_argument("work", type=Path, help="folder for the index; deleted first")
    parser.add_argument("--backbone", default="focus_vits14")
    parser.add_argument("--descriptor", default="efficientnet_lite0")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with create(args.work, args.backbone, args.descriptor) as index:
        result = answers(index, args.data.resolve())
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
