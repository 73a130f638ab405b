"""The search for a box in a photo's map, in plain NumPy: what the compiled one must agree with.

`claid_ext.index.box_search` gives the equations and the three steps. Here every sum is taken from
integral images in float64, so that nothing but the definition is in the way. Boxes are float64
(n, 4), x0, y0, x1, y1 in pixels of the photo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from claid_ext.index.box_search import BoxSearchOptions, CellMap, PhotoMap, QueryTemplates

__all__ = [
    "Integral",
    "Result",
    "answer",
    "box_search",
    "coarse_grid",
    "contrast",
    "core",
    "decode",
    "highest_iou",
    "iou",
    "refined",
]

_LEAST_MEAN = 0.01  # the length that the mean of a part's cells has at least
_LEAST_CONTRAST = 0.01  # what max o is at least
_LEAST_SHARE = 1e-9  # a (1 - a) of the whole photo, but for rounding
_ROUNDING = 1e-9  # of the number of strides that fit
_SECOND_STEP = 0.5  # the second round's steps, in those of the first
_CHUNK = 1024  # boxes at a time

Boxes = NDArray[np.float64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """What `box_search` found: the fields of `claid_ext.index.box_search.FoundBox`."""

    box: Floats
    best: Floats
    score: float
    core: float
    count: int
    coarse: int
    boxes: Boxes
    scores: Floats


def decode(layer: CellMap, codebook: NDArray[np.float32] | None) -> Floats:
    """Return the cells of a map: float64 (h, w, D).

    Dimension d of a coded cell is entry d // 16 of the centroid of subspace d mod 16.
    """
    cells = layer.cells
    if cells.dtype != np.uint8:
        return cells.astype(np.float64)
    assert codebook is not None
    subspaces = codebook.shape[0]
    centroids = codebook[np.arange(subspaces), cells]  # (h, w, subspaces, 4)
    decoded: Floats = centroids.swapaxes(-1, -2).reshape(*cells.shape[:2], -1).astype(np.float64)
    return decoded


class Integral:
    """Sums of the cells of a map over boxes with real-valued borders."""

    def __init__(self, values: Floats, cell: tuple[float, float], size: tuple[float, float]):
        """Take values (h, w, D), the size of a cell and that of the photo, both in pixels."""
        self.shape = values.shape[:2]
        self.cell = cell
        self.sums = np.zeros((self.shape[0] + 1, self.shape[1] + 1, values.shape[2]))
        self.sums[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
        self.extent = self.columns(size[0]), self.rows(size[1])

    def columns(self, x: Floats | float) -> Floats:
        """Return x in cells, the map's borders for what is beyond them."""
        return np.clip(np.asarray(x) / self.cell[0], 0, self.shape[1])

    def rows(self, y: Floats | float) -> Floats:
        """Return y in cells, as `columns`."""
        return np.clip(np.asarray(y) / self.cell[1], 0, self.shape[0])

    def corner(self, x: Floats, y: Floats) -> Floats:
        """Return the sum of what lies above and left of points in cells (n,): (n, D)."""
        row = np.minimum(y.astype(np.int64), self.shape[0] - 1)
        column = np.minimum(x.astype(np.int64), self.shape[1] - 1)
        down, right = (y - row)[:, None], (x - column)[:, None]
        above = (1 - right) * self.sums[row, column] + right * self.sums[row, column + 1]
        below = (1 - right) * self.sums[row + 1, column] + right * self.sums[row + 1, column + 1]
        sums: Floats = (1 - down) * above + down * below
        return sums

    def over(self, boxes: Boxes) -> tuple[Floats, Floats]:
        """Return the sums over boxes in pixels (n, D), and their areas in cells (n,)."""
        x0, x1 = self.columns(boxes[:, 0]), self.columns(boxes[:, 2])
        y0, y1 = self.rows(boxes[:, 1]), self.rows(boxes[:, 3])
        lower = self.corner(x1, y1) - self.corner(x0, y1)
        upper = self.corner(x1, y0) - self.corner(x0, y0)
        return lower - upper, (x1 - x0) * (y1 - y0)


def _cosines(integral: Integral, boxes: Boxes, templates: Floats) -> Floats:
    """Return the cosine of each template (n, D), of length 1, with the sum over its box: (n,)."""
    sums, areas = integral.over(boxes)
    lengths = np.maximum(np.sqrt((sums * sums).sum(axis=1)), _LEAST_MEAN * areas)
    products = (sums * templates).sum(axis=1)
    cosines: Floats = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return cosines


def core(
    e16: Integral,
    e32: Integral,
    query: QueryTemplates,
    boxes: Boxes,
    options: BoxSearchOptions,
) -> Floats:
    """Return core(b) of each box: (n,)."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    side = np.sqrt(width / e16.cell[0] * (height / e16.cell[1])) * query.cell_side
    sizes = query.sides[1:] if len(query.sides) > 1 else query.sides
    nearest = np.abs(sizes.astype(np.float64) - side[:, None]).argmin(axis=1)
    nearest += len(query.sides) > 1
    total = np.zeros(len(boxes))
    for template in (np.zeros_like(nearest), nearest):
        t, u = query.parts[template].astype(np.float64), query.means[template].astype(np.float64)
        for c in range(9):
            row, column = divmod(c, 3)
            part = np.stack(
                [
                    boxes[:, 0] + width * column / 3,
                    boxes[:, 1] + height * row / 3,
                    boxes[:, 0] + width * (column + 1) / 3,
                    boxes[:, 1] + height * (row + 1) / 3,
                ],
                axis=1,
            )
            total += options.part_weight / 9 * _cosines(e16, part, t[:, c])
        total += options.mean_weight * _cosines(e32, boxes, u)
    return total


def contrast(match: Integral, boxes: Boxes) -> Floats:
    """Return o(b) of each box, not yet divided by max o: (n,). `match` is of m, (h, w, 1)."""
    whole_area = match.extent[0] * match.extent[1]
    total = match.corner(*(np.atleast_1d(side) for side in match.extent))[0, 0]
    sums, areas = match.over(boxes)
    inside, share = sums[:, 0], areas / whole_area
    out = np.zeros(len(boxes))
    some = (areas > 0) & (share * (1 - share) > _LEAST_SHARE)
    means = inside[some] / areas[some]
    rest = (total - inside[some]) / (whole_area - areas[some])
    out[some] = (means - rest) * np.sqrt(share[some] * (1 - share[some]))
    return out


def iou(boxes: Boxes, others: Boxes) -> Floats:
    """Return the intersection over union of each box with each other one: (n, m)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, others)]
    share: Floats = shared / (areas[0][:, None] + areas[1][None] - shared)
    return share


def highest_iou(boxes: Boxes, regions: Boxes) -> Floats:
    """Return the highest IoU of each box with a stored region, 0 where there is none: (n,)."""
    highest: Floats = iou(boxes, regions).max(axis=1, initial=0)
    return highest


def _positions(extent: float, side: float, options: BoxSearchOptions) -> Floats:
    """Return where boxes of a side begin along an axis, all in cells."""
    stride = max(options.least_stride, side / options.stride_divisor)
    steps = math.floor((extent - side) / stride + _ROUNDING)
    first = max(0.0, (extent - side) - steps * stride) / 2
    positions: Floats = first + stride * np.arange(steps + 1, dtype=np.float64)
    return positions


def coarse_grid(photo: PhotoMap, aspect: float, options: BoxSearchOptions) -> Boxes:
    """Return the boxes of step 1, without the stored regions: (n, 4)."""
    cell = np.array(photo.e16.cell, np.float64)
    extent = np.minimum(np.array(photo.size) / cell, photo.e16.cells.shape[1::-1])
    shapes: list[tuple[float, float]] = []
    side = options.smallest_side
    while not shapes or side <= math.sqrt(extent[0] * extent[1]):
        for factor in options.aspects:
            stretch = math.sqrt(aspect * factor)
            shape = min(max(side * stretch, 1), extent[0]), min(max(side / stretch, 1), extent[1])
            if shape not in shapes:
                shapes.append(shape)
        side *= math.sqrt(2)
    grids = []
    for width, height in shapes:
        y, x = np.meshgrid(
            _positions(extent[1], height, options),
            _positions(extent[0], width, options),
            indexing="ij",
        )
        corners = np.stack([x, y, x + width, y + height], axis=-1).reshape(-1, 4)
        grids.append(corners * np.tile(cell, 2))
    return _clipped(np.concatenate(grids), photo)


def refined(seed: Floats, photo: PhotoMap, options: BoxSearchOptions, step: float) -> Boxes:
    """Return the 9 shifts times 7 scalings of a box: (63, 4).

    In order of the scaling of y, the shift of y, the scaling of x, the shift of x. `step` is 1, or
    0.5 for half the steps.
    """
    shifts = (0.0, -options.shift * step, options.shift * step)
    scales = (1.0, options.grow**step, options.shrink**step)
    centre, sides = (seed[:2] + seed[2:]) / 2, seed[2:] - seed[:2]
    boxes = []
    for scale_y in range(3):
        for shift_y in shifts:
            for scale_x in range(3):
                if scale_x not in (0, scale_y) and scale_y != 0:
                    continue  # one side by a factor, or both by the same
                for shift_x in shifts:
                    middle = centre + np.array([shift_x, shift_y]) * sides
                    half = np.array([scales[scale_x], scales[scale_y]]) * sides / 2
                    boxes.append(np.concatenate([middle - half, middle + half]))
    return _clipped(np.array(boxes), photo)


def _clipped(boxes: Boxes, photo: PhotoMap) -> Boxes:
    clipped: Boxes = np.clip(boxes, 0, np.tile(np.array(photo.size, np.float64), 2))
    return clipped


def answer(boxes: Boxes, scores: Floats, options: BoxSearchOptions) -> tuple[Floats, int]:
    """Return step 3's mean of boxes (4,), and which box is the best, the earliest of equals."""
    best = int(scores.argmax())
    near = iou(boxes, boxes[best : best + 1])[:, 0] >= options.least_iou
    near[best] = True
    weights: Floats = np.exp((scores[near] - scores[best]) / options.temperature)
    mean: Floats = (weights[:, None] * boxes[near]).sum(axis=0) / weights.sum()
    return mean, best


def box_search(
    photo: PhotoMap,
    query: QueryTemplates,
    *,
    codebooks: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    options: BoxSearchOptions,
) -> Result:
    """Do what `claid_ext.index.box_search.box_search` does for one photo, slowly.

    The arguments are taken to be right; that function checks them.
    """
    books = (None, None) if codebooks is None else codebooks
    cells = [decode(m, b) for m, b in zip((photo.e16, photo.e32), books, strict=True)]
    e16 = Integral(cells[0], photo.e16.cell, photo.size)
    e32 = Integral(cells[1], photo.e32.cell, photo.size)
    if len(query.cells):
        m = (cells[0] @ query.cells.T.astype(np.float64)).max(axis=2, keepdims=True)
    else:
        m = np.zeros((*e16.shape, 1))
    match = Integral(m, photo.e16.cell, photo.size)
    regions = photo.regions.astype(np.float64)

    def terms(boxes: Boxes) -> tuple[Floats, Floats, Floats]:
        chunks = np.split(boxes, range(_CHUNK, len(boxes), _CHUNK))
        return (
            np.concatenate([core(e16, e32, query, chunk, options) for chunk in chunks]),
            contrast(match, boxes),
            np.concatenate([highest_iou(chunk, regions) for chunk in chunks]),
        )

    boxes = np.concatenate([coarse_grid(photo, query.aspect, options), _clipped(regions, photo)])
    coarse = len(boxes)
    cores, contrasts, overlaps = terms(boxes)
    highest = max(contrasts.max(), _LEAST_CONTRAST)

    def add_up(cores: Floats, contrasts: Floats, overlaps: Floats) -> Floats:
        total = cores + options.contrast_weight * contrasts / highest
        summed: Floats = total + options.region_weight * overlaps
        return summed

    scores = add_up(cores, contrasts, overlaps)
    rounds = ((options.seeds, 1.0), (options.second_seeds, _SECOND_STEP))
    for count, step in rounds[: options.rounds]:
        if count == 0:
            continue
        best_first = np.argsort(-scores, kind="stable")[:count]
        new = np.concatenate([refined(boxes[i], photo, options, step) for i in best_first])
        new_terms = terms(new)
        boxes = np.concatenate([boxes, new])
        cores = np.concatenate([cores, new_terms[0]])
        scores = np.concatenate([scores, add_up(*new_terms)])
    box, best = answer(boxes, scores, options)
    return Result(
        box, boxes[best], float(scores[best]), float(cores[best]), len(boxes), coarse, boxes, scores
    )
