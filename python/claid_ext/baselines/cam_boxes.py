"""Boxes by class maps: the spatial re-ranking of CAM-weight (arXiv 1707.02581, section 3.4).

Of each of the best photos, the maps of the query's two most probable classes are averaged; the
largest connected part over each of several thresholds gives a box; the box whose vector is most
like the query's is the answer, and its cosine ranks the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from claid_ext.baselines.segments import largest_component
from claid_ext.descriptors.cam_weight import CamWeight, Seen, cells_inside
from claid_ext.images import as_image

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CamBox", "CamQuery", "cam_query", "find_box", "threshold_boxes"]

THRESHOLDS = (0.01, 0.1, 0.2, 0.3, 0.4)  # section 4: of the map's maximum
HEAT_CLASSES = 2  # whose maps are averaged
CLASSES = 6  # there: of the vectors that are compared
LEAST_SIDE = 5  # cells; smaller boxes are not compared


class CamQuery(NamedTuple):
    """A query's classes, most probable first, and its vector by `CLASSES` of them."""

    classes: torch.Tensor
    vector: NDArray[np.float32]


class CamBox(NamedTuple):
    """A box in a photo's pixels, and the cosine of its vector with the query's."""

    box: tuple[float, float, float, float]
    cosine: float


def cam_query(describe: CamWeight, image: Any, box: Sequence[float]) -> CamQuery:
    """Prepare a box of an image, [x0, y0, x1, y1) in its pixels, to be searched for."""
    picture: Image.Image = as_image(image)
    seen = describe.see(picture)
    count = min(CLASSES, len(describe.classifier.weight))
    classes = describe.query_classes(picture, seen, box, count)
    inside = cells_inside(box, seen.local.shape[1:], seen.extent)
    return CamQuery(classes, describe.vector(seen, classes, inside))


def threshold_boxes(heat: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the box of the largest connected part over each threshold of a heat map (h, w).

    Returns int64 (n, 4), [x0, y0, x1, y1) in cells, by threshold; each box once, none where the map
    is nowhere above 0.
    """
    found: dict[tuple[int, ...], None] = {}
    for threshold in THRESHOLDS:
        mask = heat > threshold * heat.max()
        if not mask.any():
            continue
        part = largest_component(mask)
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        found[int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1] = None
    return np.array(list(found), np.int64).reshape(-1, 4)


def find_box(describe: CamWeight, seen: Seen, query: CamQuery, size: tuple[int, int]) -> CamBox:
    """Find a query's box in a photo, of (height, width) `size`, that the network has seen.

    The whole photo is among the boxes that are compared, and is the answer where no other has five
    cells a side.
    """
    height, width = seen.local.shape[1:]
    heat = describe.heat_maps(seen, query.classes[:HEAT_CLASSES]).mean(axis=0)
    boxes = [(0, 0, width, height)]
    for x0, y0, x1, y1 in threshold_boxes(heat).tolist():
        if min(x1 - x0, y1 - y0) >= LEAST_SIDE:
            boxes.append((x0, y0, x1, y1))
    best = CamBox((0.0, 0.0, float(size[1]), float(size[0])), -1.0)
    y, x = seen.extent[0] / height, seen.extent[1] / width
    for x0, y0, x1, y1 in boxes:
        inside = np.zeros((height, width), bool)
        inside[y0:y1, x0:x1] = True
        cosine = float(describe.vector(seen, query.classes, inside) @ query.vector)
        if cosine > best.cosine:
            pixels = (x0 * x, y0 * y, min(x1 * x, size[1]), min(y1 * y, size[0]))
            best = CamBox(pixels, cosine)
    return best
