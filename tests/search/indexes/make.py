"""Makes the index of today's disk version that is kept here, for later releases to open.

    python tests/search/indexes/make.py tests/search/indexes/v3

Run it once when the version in claid_ext/index/manifest.py is raised, and commit what it makes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from claid_ext import InstanceIndex
from claid_ext.index import Entry
from claid_ext.record import CellMap, ImageRecord
from claid_ext.regions import Regions

DIM = 8
IMAGES = 3


class Made:
    """A descriptor whose vectors are made elsewhere."""

    def manifest(self):
        return {"name": "made", "layers": [], "pooling": "mean", "dim": DIM, "weights": "0"}

    def recipe(self):
        return {"recipe": "network", "version": 1, "name": "efficientnet_lite0", "weights": None}


def vectors(image):
    """The unit vectors of an image's two regions, float32 (2, DIM)."""
    angles = np.arange(2 * DIM).reshape(2, DIM) * (image + 1.0)
    rows = np.cos(angles).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def record(image):
    """The record of an image, with maps of both kinds."""
    regions = Regions.of_boxes((48, 64), [[0, 0, 32, 24], [8, 8, 64, 48]], [1, 2])
    codes = (np.arange(3 * 4 * 16) % 256).astype(np.uint8).reshape(3, 4, 16)
    plain = np.linspace(0, 1, 2 * 2 * 5).astype(np.float16).reshape(2, 2, 5)
    maps = (CellMap("a", codes, (16.0, 16.0)), CellMap("b", plain, (32.0, 32.0)))
    return ImageRecord(regions, vectors(image), maps)


def main(folder):
    """Make the index."""
    with InstanceIndex.create(folder, descriptor=Made(), regions="full") as index:
        entries = [Entry(f"/photos/{i}.jpg", record(i), (10 + i, 20 + i)) for i in range(IMAGES)]
        index.store.upsert(entries)
        index.compact()
    (Path(folder) / "writer.lock").unlink()


if __name__ == "__main__":
    main(sys.argv[1])
