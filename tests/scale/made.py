"""Made photos and a made describer without networks; imported by tests and by their workers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from claid_ext.errors import UnreadableImageError
from claid_ext.images import read_photo
from claid_ext.record import CellMap, ImageRecord
from claid_ext.regions.value import Regions
from claid_ext.vectors import encode_vectors, unit

DIM = 8


class MadeDescriber:
    """A `Describer` whose records follow from the pixels alone; every third one has maps."""

    def __call__(self, images):
        return [self._record(read_photo(image)) for image in images]

    def _record(self, photo):
        pixels = np.asarray(photo)
        if pixels.shape[0] == 1:
            raise UnreadableImageError(f"{photo.path}: too elongated")
        digest = hashlib.sha256(pixels.tobytes()).digest()
        rng = np.random.default_rng(list(digest))
        rows = int(rng.integers(1, 6))
        low = rng.uniform(0, 5, (rows, 2))
        boxes = np.concatenate([low, low + rng.uniform(1, 4, (rows, 2))], axis=1)
        regions = Regions.of_boxes(photo.size, boxes, rng.integers(0, 5, rows))
        cells = CellMap("e16", rng.integers(0, 256, (3, 2, 4), dtype=np.uint8), (16.0, 16.5))
        vectors = encode_vectors(unit(rng.normal(size=(rows, DIM))))
        return ImageRecord(regions, vectors, (cells,) if digest[0] % 3 == 0 else ())

    def manifest(self):
        return {"regions": {"name": "made"}, "descriptor": {"name": "made", "dim": DIM},
                "basis": None}  # fmt: skip

    def recipe(self):
        return {"regions": None, "descriptor": None}


def made_photos(folder: Path, count: int, first: int = 0, size: int = 12) -> list[str]:
    """Small photos of noise, each of its own; their paths."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
        paths.append(str(folder / f"{number:05}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths
