"""Computes what a collection takes, from a data set that was extracted and how long that took.

    claid extract PHOTOS -o DATASET --workers 1     (prints photos/s)
    python bench/sizing.py DATASET --photos-per-second X

prints the table of docs/scale.md: bytes and core-hours are those of this data set per photo, times
the number of photos. The memory of whoever searches is measured on a made table of images.
"""

from __future__ import annotations

import argparse
import tracemalloc
from pathlib import Path

import numpy as np
from claid_ext.index import ImageTable
from claid_ext.scale import DataSet

COUNTS = (100_000, 1_000_000, 10_000_000, 28_000_000)
FOLDERS = ("listing", "images", "regions", "records")
FLOAT_BYTES = 4  # of a component where Milvus keeps vectors as they are given
SQ8_BYTES = 1  # of a component in its index IVF_SQ8, which is what it keeps in memory
ROW_BYTES = 16  # key and image of a row
TABLE_IMAGES = 100_000  # made to measure the table of images
GB, MB = 1e9, 1e6


def bytes_of(dataset: DataSet) -> dict[str, float]:
    """Bytes per photo of each folder of a data set on this machine."""
    root = Path(dataset.address)
    photos = sum(dataset.images(shard).num_rows for shard in dataset.done())
    return {
        folder: sum(path.stat().st_size for path in (root / folder).glob("part-*")) / photos
        for folder in FOLDERS
    }


def regions_of(dataset: DataSet) -> float:
    """Regions per photo."""
    tables = [dataset.images(shard, ["regions"]) for shard in dataset.done()]
    return sum(sum(t["regions"].to_pylist()) for t in tables) / sum(t.num_rows for t in tables)


def table_bytes() -> float:
    """Memory per image of what a searcher keeps: seven numbers, and a path of 40 letters."""
    tracemalloc.start()
    paths = [f"/photos/{'x' * 18}/{number:09}.jpg" for number in range(TABLE_IMAGES)]
    numbers = np.zeros((TABLE_IMAGES, 7), np.int64)
    table = ImageTable(numbers[:, 0].copy(), numbers[:, 3].copy(), paths)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return taken / len(table.ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--photos-per-second", type=float, required=True, help="of one core")
    args = parser.parse_args()
    dataset = DataSet(args.dataset)
    sizes, regions, in_memory = bytes_of(dataset), regions_of(dataset), table_bytes()
    rows = {
        "regions, millions": lambda n: n * regions / 1e6,
        "shards": lambda n: n / dataset.manifest["shard photos"],
        "extraction, core-hours": lambda n: n / args.photos_per_second / 3600,
        "records, GB": lambda n: n * sizes["records"] / GB,
        "regions/ (vectors, boxes), GB": lambda n: n * sizes["regions"] / GB,
        "listing/ and images/, GB": lambda n: n * (sizes["listing"] + sizes["images"]) / GB,
        "Milvus: vectors as float32, GB": lambda n: (
            n * regions * (FLOAT_BYTES * dataset.dim + ROW_BYTES) / GB
        ),
        "Milvus: IVF_SQ8 in memory, GB": lambda n: (
            n * regions * (SQ8_BYTES * dataset.dim + ROW_BYTES) / GB
        ),
        "memory of a searcher, MB": lambda n: n * in_memory / MB,
    }
    print("| photos | " + " | ".join(f"{count:,}" for count in COUNTS) + " |")
    print("| --- |" + " --- |" * len(COUNTS))
    for name, size in rows.items():
        print(f"| {name} | " + " | ".join(f"{size(count):,.1f}" for count in COUNTS) + " |")
    print(
        f"\nFrom {dataset.dim} dimensions, {regions:.1f} regions and "
        f"{sum(sizes.values()) / 1000:.1f} kB a photo, {args.photos_per_second:g} photos/s a core."
    )


if __name__ == "__main__":
    main()
