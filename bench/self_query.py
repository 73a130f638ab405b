"""Is a query that was cut from an indexed photo found in that very photo, with its box?

    python bench/self_query.py DATA [DATA ...] --work WORK

DATA are search sets in the JSON layout of docs/evaluation.md. Their images and their queries' own
photos are indexed under WORK with the defaults. Prints each query that is not found in its own
photo first with a box of IoU 0.7 or more, and the share that is, over all sets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from claid_ext import Detector, InstanceIndex, Query, RegionDescriptor
from claid_ext.evaluation import load_search
from claid_ext.overlap import box_iou
from claid_ext.regions import region_source

LEAST_IOU = 0.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", type=Path, help="search sets")
    parser.add_argument("--work", type=Path, required=True, help="where the indexes are kept")
    args = parser.parse_args()
    descriptor = RegionDescriptor("efficientnet_lite0")
    source = region_source("detect", Detector("focus_vits14", runtime="torch"))
    found = asked = 0
    for data in args.data:
        search_set = load_search("folder", data)
        own = [str(query.image) for query in search_set.queries]
        folder = args.work / search_set.name
        with InstanceIndex.open_or_create(folder, descriptor=descriptor, regions=source) as index:
            index.add([*map(str, search_set.images), *own], progress=True)
            for query, image in zip(search_set.queries, own, strict=True):
                (hits,) = index.search(Query(query.image, query.boxes), len(index))
                rank = next(n for n, hit in enumerate(hits, 1) if Path(hit.image).samefile(image))
                overlap = box_iou(hits[rank - 1].box, query.boxes).max()
                right = rank == 1 and overlap >= LEAST_IOU
                if not right:
                    print(f"{search_set.name} {query.name}: rank {rank}, IoU {overlap:.2f}")
                found, asked = found + right, asked + 1
    print(f"{found} of {asked} queries ({found / asked:.1%}): first, with an IoU >= {LEAST_IOU}")


if __name__ == "__main__":
    main()
