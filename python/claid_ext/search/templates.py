"""What is compared of a query: its vector in the first stage, its templates in the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from claid_ext.descriptors.basis import Basis
from claid_ext.descriptors.maps import View, projected_cells, region_vectors, view_maps
from claid_ext.index.box_search import MOST_ASPECT
from claid_ext.vectors import unit

if TYPE_CHECKING:
    from PIL import Image

    from claid_ext.descriptors.networks import ConvNetwork
    from claid_ext.descriptors.pooling import FeatureMap
    from claid_ext.descriptors.token_network import TokenNetwork

__all__ = ["SIDES", "Templates", "query_templates"]

FloatArray = NDArray[np.float32]
Box = tuple[float, float, float, float]

SIDES = (24, 34, 48, 68, 96, 136, 192, 272)  # pixels: square roots of the box's area
VECTOR_SIDES = (48, 96, 192)  # whose mean the vector has beside the native one
CELL_SIDES = (34, 68, 136)  # whose cells are in G beside the native ones
MOST_MARGIN = 272  # pixels: what a square box has at the largest of these sizes
MOST_ENLARGED = 4.0  # times the box's own size
PARTS = 3  # a side
MOST_CELLS = 150  # in G, of each size
CELL_INSIDE = 0.6  # of a cell's area that is inside the box, for G


@dataclass(frozen=True, eq=False)
class Templates:
    """One box of a query, ready for both stages. T sizes, the native one first.

    Attributes
    ----------
    vector : float32 (D,), of length 1.
    sides : float32 (T,), the square root of the box's area in the network's pixels.
    parts : float32 (T, 9, d), mean of the first layer's cells in 3 x 3 parts of the box, row by
        row, each of length 1.
    means : float32 (T, d'), mean of the last layer's cells in the box, of length 1.
    cells : float32 (G, d), cells of the first layer that lie inside the box.
    aspect : width of the box over its height, 1/10,000 to 10,000.
    cell_side : of the first layer's cells, in the network's pixels.
    """

    vector: FloatArray
    sides: FloatArray
    parts: FloatArray
    means: FloatArray
    cells: FloatArray
    aspect: float
    cell_side: float


def query_templates(
    network: ConvNetwork | TokenNetwork,
    image: Image.Image,
    boxes: ArrayLike,
    basis: Basis | None = None,
    batch_size: int = 1,
) -> list[Templates]:
    """Make the templates of each box of a query.

    The box is cut out with a margin of its longer side on all sides (at most 272 of the network's
    pixels, which bounds the cost of long boxes), within the image. It is resized so that
    the square root of its area is each of `SIDES` (never enlarged more than 4 times), and once so
    that it has the size at which the image itself would be kept, on the same cells.

    Parameters
    ----------
    network : whose maps are kept.
    image : RGB, upright.
    boxes : (B, 4), [x0, y0, x1, y1) in its pixels, clipped to it, none of them empty.
    basis : of the index; None for none.
    batch_size : how many views of one size go through the network together.
    """
    given = np.asarray(boxes, np.float64).reshape(-1, 4)
    sized = [_views(network, image, box) for box in given]
    views = [view for its, _ in sized for view in its]
    maps = iter(view_maps(network, views, batch_size))
    made = []
    for box, (its, sides) in zip(given, sized, strict=True):
        seen = [
            _seen(box, view, side, next(maps), basis) for view, side in zip(its, sides, strict=True)
        ]
        made.append(_templates(box, seen))
    return made


@dataclass(frozen=True)
class _Seen:
    """A query's box as the network sees it at one size, as far as templates need it."""

    side: float
    vector: FloatArray  # (D,)
    parts: FloatArray  # (9, d)
    mean: FloatArray  # (d',)
    cells: FloatArray  # (n, d)
    cell_side: float


def _views(
    network: ConvNetwork | TokenNetwork, image: Image.Image, box: NDArray[np.float64]
) -> tuple[list[View], list[float]]:
    """Views of a box, native first, then by rising size; and the box's side in each."""
    own = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    native = _native_view(network, image, box, longer)
    per_pixel = native.size[1] / (native.box[2] - native.box[0])
    views, sides = [native], [own * per_pixel]
    # Sizes over the most enlarged one become that one, once.
    for scale in sorted({min(side / own, MOST_ENLARGED) for side in SIDES}):
        crop = _with_margin(box, min(longer, MOST_MARGIN / scale), image.size)
        height, width = (crop[3] - crop[1]) * scale, (crop[2] - crop[0]) * scale
        views.append(View(image, crop, (max(1, round(height)), max(1, round(width)))))
        sides.append(own * scale)
    return views, sides


def _native_view(
    network: ConvNetwork | TokenNetwork,
    image: Image.Image,
    box: NDArray[np.float64],
    margin: float,
) -> View:
    """The view at the size at which the image would be kept, cut so that its cells are the image's.

    A cut elsewhere would shift them, and an image that is in the index would not quite match its
    own map.
    """
    height, width = network.map_size((image.height, image.width))
    per_pixel = np.array([width / image.width, height / image.height])
    step = network.multiple
    low = np.floor((box[:2] - margin) * per_pixel / step) * step
    high = np.ceil((box[2:] + margin) * per_pixel / step) * step
    low, high = np.maximum(low, 0), np.minimum(high, (width, height))
    x0, y0, x1, y1 = (np.concatenate([low, high]) / np.tile(per_pixel, 2)).tolist()
    x1, y1 = min(x1, image.width), min(y1, image.height)  # but for rounding
    return View(image, (x0, y0, x1, y1), (round(high[1] - low[1]), round(high[0] - low[0])))


def _with_margin(box: NDArray[np.float64], margin: float, size: tuple[int, int]) -> Box:
    """Return a box with a margin all around, in whole pixels of the image."""
    x0, y0 = np.floor(np.maximum(box[:2] - margin, 0)).tolist()
    x1, y1 = np.ceil(np.minimum(box[2:] + margin, size)).tolist()
    return x0, y0, x1, y1


def _seen(
    box: NDArray[np.float64],
    view: View,
    side: float,
    maps: Sequence[FeatureMap],
    basis: Basis | None,
) -> _Seen:
    inside = box - np.tile(view.box[:2], 2)
    cells = projected_cells(maps, basis)
    first, last = (
        _cover(inside, its.shape[:2], one.extent, parts)
        for its, one, parts in ((cells[0], maps[0], PARTS), (cells[-1], maps[-1], 1))
    )
    rows = maps[0].values.shape[1]
    per_pixel = view.size[0] / (view.box[3] - view.box[1])
    return _Seen(
        side=side,
        cell_side=maps[0].extent[0] / rows * per_pixel,
        vector=region_vectors(maps, inside[None], basis)[0],
        parts=_means(cells[0], first),
        mean=_means(cells[-1], last)[0],
        cells=_inner_cells(cells[0], first),
    )


def _cover(
    box: NDArray[np.float64], cells: tuple[int, ...], extent: tuple[float, float], parts: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of each cell covered by each of a box's parts, per axis: (parts, h) and (parts, w)."""
    shares = []
    for axis, count in enumerate(cells):
        low, high = box[1 - axis] / extent[axis], box[3 - axis] / extent[axis]
        edges = np.linspace(low, high, parts + 1)[:, None] * count
        covered = np.clip(edges - np.arange(count), 0, 1)  # of each cell, up to each edge
        shares.append(np.diff(covered, axis=0))
    return shares[0], shares[1]


def _means(cells: FloatArray, cover: tuple[NDArray[np.float64], ...]) -> FloatArray:
    """Means of cells (h, w, d) over parts, weighted by area: (parts^2, d), of length 1."""
    rows, columns = cover
    sums = np.einsum("yh,hwd,xw->yxd", rows, cells, columns, optimize=True)
    return unit(sums.reshape(-1, cells.shape[2]))


def _inner_cells(cells: FloatArray, cover: tuple[NDArray[np.float64], ...]) -> FloatArray:
    """Cells of which at least `CELL_INSIDE` is in the box, evenly thinned out to `MOST_CELLS`."""
    share = np.outer(*(axis.sum(axis=0) for axis in cover)).ravel()
    # A box may contain no cell to that extent: then those that it covers most.
    inner = np.flatnonzero(share >= min(CELL_INSIDE, share.max()))
    some = np.linspace(0, len(inner) - 1, min(len(inner), MOST_CELLS)).astype(np.int64)
    chosen: FloatArray = cells.reshape(-1, cells.shape[2])[inner[some]]
    return chosen


def _templates(box: NDArray[np.float64], seen: Sequence[_Seen]) -> Templates:
    native, sized = seen[0], seen[1:]

    def nearest(side: int) -> _Seen:
        # Where a size was not made, being too large, the largest takes its place.
        return min(sized, key=lambda its: abs(its.side - side))

    aspect = float((box[2] - box[0]) / (box[3] - box[1]))
    averaged = np.mean([nearest(side).vector for side in VECTOR_SIDES], axis=0)
    of_cells = {id(its): its for its in [native, *map(nearest, CELL_SIDES)]}
    return Templates(
        vector=unit(native.vector + averaged),
        sides=np.array([its.side for its in seen], np.float32),
        parts=np.stack([its.parts for its in seen]),
        means=np.stack([its.mean for its in seen]),
        cells=np.concatenate([its.cells for its in of_cells.values()]),
        cell_side=native.cell_side,
        aspect=min(max(aspect, 1 / MOST_ASPECT), MOST_ASPECT),
    )
