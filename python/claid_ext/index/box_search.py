r"""Stage 2 of a search: where in a photo is the thing that the query shows?

The map of a photo keeps one vector per cell of two layers of the descriptor network, e16 (stride
16) and e32 (stride 32). Boxes b of all sizes are scored on it, with real-valued borders:

    p(t, b) = 1/9 sum over the 3 x 3 parts c of b of cos(t_c, sum of the e16 cells of part c)
    w(u, b) = cos(u, sum of the e32 cells of b)
    core(b) = 1/2 (p_native + p_S) + 1/4 (w_native + w_S)
    m(x)    = max over g in G of <g, x>
    o(b)    = (mean of m inside b - mean of m outside b) sqrt(a (1 - a)),  a = b's share of the map
    s(b)    = core(b) + 1/4 o(b) / max o + 1/10 max over the stored regions r of IoU(b, r)

t and u are templates of the query at its own size ("native") and at several sizes S; S is the one
nearest to sqrt(area of b) in network pixels, the smaller of two equally near ones. G are e16 cells
of the query. max o is the highest o of step 1.

1. A coarse grid: sqrt(area) = 1.4 e16 cells times sqrt(2)^n, as long as that is at most the
   photo's; the query's aspect ratio times 0.7, 1 and 1.41; each side at least one cell and at most
   the photo's; strides of max(1/2 cell, side / 1.5), the grid centred in the photo, so that at
   either border up to half a stride is left. And the stored regions.
2. Around the best 40 (in a tie the earliest): 9 shifts (0, +-0.2 of a side) times 7 scalings (1;
   both sides by 1.19 or 0.84; one side by either), clipped to the photo. An option: then once more
   at half the steps around the best 20 of all.
3. The answer is the mean of all boxes with IoU >= 0.5 with the best, weighted by
   exp((s - s_best) / 0.05).

A map covers the photo from its upper left corner. Where the photo is not a whole number of cells,
the last row or column may extend beyond its border (only a part of these cells counts), or the
photo beyond the map by less than a cell (nothing counts there). Two quantities have a floor, so
that rounding is never divided by rounding: the length of a part's mean cell counts as at least
0.01, and so does max o. A box that is the whole photo has o = 0; without G all o are 0.

`claid_ext.reference.box_search` is the same in plain NumPy, for one photo. NumPy alone is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext import _core
from claid_ext._arguments import check_threads

__all__ = [
    "MOST_ASPECT",
    "BoxSearchOptions",
    "CellMap",
    "FoundBox",
    "PhotoMap",
    "QueryTemplates",
    "box_search",
]

CODEBOOK_SHAPE = (16, 256, 4)  # subspaces, centroids, dimensions of a subspace
PARTS = 9
MOST_DIMS = 4096
MOST_ASPECT = 1e4  # of a query's box, either way
MOST_QUERY_CELLS = 4096
MOST_CELLS = 4096  # a side
LONGEST = 2.0  # cells, centroids and templates are of length 1, or about
ASPECTS = 3


@dataclass(frozen=True)
class CellMap:
    """One layer's cells of one photo.

    cells : uint8 (h, w, 16), product-quantised codes (dimension d is in subspace d mod 16), or
        float16 or float32 (h, w, D), of length 1 or 0. Without the cells of padding.
    cell : width and height of a cell in pixels of the photo.
    """

    cells: NDArray[Any]
    cell: tuple[float, float]


@dataclass(frozen=True)
class PhotoMap:
    """What is kept of a photo for stage 2.

    e16, e32 : its maps.
    size : width and height of the photo in pixels.
    regions : float32 (R, 4), its stored regions: x0, y0, x1, y1 in pixels of the photo.
    """

    e16: CellMap
    e32: CellMap
    size: tuple[float, float]
    regions: NDArray[np.float32]


@dataclass(frozen=True)
class QueryTemplates:
    """What is looked for.

    parts : float32 (T, 9, D16), t_c: means of the e16 cells in 3 x 3 parts, row by row, each of
        length 1 (or 0). The first of the T templates is the native one, the others are of sizes S.
    means : float32 (T, D32), u: the mean of the e32 cells, of length 1 (or 0).
    sides : float32 (T,), sqrt(area) of the query's box in each template, in network pixels,
        ascending from the second on. The first is used only if it is the only one.
    cells : float32 (g, D16), G: e16 cells of the query, of length 1; none to 4096.
    aspect : width / height of the query's box.
    cell_side : side of an e16 cell in network pixels (16 for stride 16).
    """

    parts: NDArray[np.float32]
    means: NDArray[np.float32]
    sides: NDArray[np.float32]
    cells: NDArray[np.float32]
    aspect: float
    cell_side: float = 16.0


@dataclass(frozen=True)
class BoxSearchOptions:
    """The constants of the search; they were flat optima in trials on photos.

    smallest_side : sqrt(area) of the smallest boxes of the grid, in e16 cells.
    aspects : three factors of the query's aspect ratio.
    least_stride : of the grid, in e16 cells.
    stride_divisor : the stride is a side over this.
    seeds, second_seeds : how many boxes a round of refinement goes around.
    rounds : of refinement, 0 to 2.
    shift : of a refined box, in sides.
    grow, shrink : its scalings.
    part_weight : of p_native, and of p_S.
    mean_weight : of w_native, and of w_S.
    contrast_weight, region_weight : of o / max o, and of the IoU with a stored region.
    least_iou : with the best box, of the boxes that make the answer.
    temperature : of their weights.
    """

    smallest_side: float = 1.4
    aspects: tuple[float, float, float] = (0.7, 1.0, 1.41)
    least_stride: float = 0.5
    stride_divisor: float = 1.5
    seeds: int = 40
    second_seeds: int = 20
    rounds: int = 1
    shift: float = 0.2
    grow: float = 1.19
    shrink: float = 0.84
    part_weight: float = 0.5
    mean_weight: float = 0.25
    contrast_weight: float = 0.25
    region_weight: float = 0.1
    least_iou: float = 0.5
    temperature: float = 0.05

    def __post_init__(self) -> None:
        """Check every value; ValueError names the one that is wrong."""
        if len(self.aspects) != ASPECTS:
            raise ValueError(f"aspects must be {ASPECTS} factors, got {self.aspects!r}")
        for factor in self.aspects:
            _check_range("aspects", factor, 0.01, 100)
        for name, low, high in _RANGES:
            _check_range(name, getattr(self, name), low, high)
        for name, most in (("seeds", 10_000), ("second_seeds", 10_000), ("rounds", 2)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or not 0 <= value <= most:
                raise ValueError(f"{name} must be an integer from 0 to {most}, got {value!r}")


_RANGES = (
    ("smallest_side", 0.5, 1000),
    ("least_stride", 0.1, 1000),
    ("stride_divisor", 0.1, 10),
    ("shift", 0, 0.49),
    ("grow", 0.5, 2),
    ("shrink", 0.5, 2),
    ("part_weight", 0, 100),
    ("mean_weight", 0, 100),
    ("contrast_weight", 0, 100),
    ("region_weight", 0, 100),
    ("least_iou", 0, 1),
    ("temperature", 1e-6, 1e6),
)


@dataclass(frozen=True)
class FoundBox:
    """The query's place in one photo; boxes are x0, y0, x1, y1 in pixels of the photo.

    box : float32 (4,), the answer: the mean of the boxes around the best (step 3).
    best : float32 (4,), the best box itself, of which score and core are.
    score : its s; comparable only within one photo.
    core : its core, which ranks photos.
    count : how many boxes were scored.
    coarse : how many of them were of step 1.
    boxes, scores : float32 (count, 4) and float64 (count,), every box in the order of scoring and
        its s; None unless asked for.
    """

    box: NDArray[np.float32]
    best: NDArray[np.float32]
    score: float
    core: float
    count: int
    coarse: int
    boxes: NDArray[np.float32] | None = None
    scores: NDArray[np.float64] | None = None


def box_search(
    photos: Sequence[PhotoMap],
    query: QueryTemplates,
    *,
    codebooks: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    options: BoxSearchOptions | None = None,
    threads: int | None = None,
    return_boxes: bool = False,
) -> list[FoundBox]:
    """Find the query's box in each photo (the module's docstring gives the equations).

    Parameters
    ----------
    photos : any number of them, with maps of any sizes.
    query : its dimensions must be those of the maps; 64 where these are codes.
    codebooks : float32 (16, 256, 4) of e16 and of e32; needed where maps are codes.
    options : BoxSearchOptions() unless given.
    threads : among which photos are shared; None for as many as the machine has. The result does
        not depend on them.
    return_boxes : also return every box scored.

    Raises
    ------
    TypeError : an argument of another type.
    ValueError : an array of another shape or dtype, not finite, cells or templates much longer than
        1, a map that does not fit the photo's size, a region outside of the photo or without area.
    """
    chosen = BoxSearchOptions() if options is None else options
    if not isinstance(chosen, BoxSearchOptions):
        raise TypeError(f"options must be BoxSearchOptions, got {type(chosen).__name__}")
    _check_query(query)
    books = (None, None) if codebooks is None else _check_codebooks(codebooks)
    photos = list(photos)
    for i, photo in enumerate(photos):
        _check_photo(f"photos[{i}]", photo)
    layout = np.array([(*p.size, *p.e16.cell, *p.e32.cell) for p in photos], np.float64)
    found = _core.box_search(
        [np.ascontiguousarray(photo.e16.cells) for photo in photos],
        [np.ascontiguousarray(photo.e32.cells) for photo in photos],
        layout.reshape(-1, 6),
        [np.ascontiguousarray(photo.regions) for photo in photos],
        books[0],
        books[1],
        np.ascontiguousarray(query.parts),
        np.ascontiguousarray(query.means),
        np.ascontiguousarray(query.sides),
        np.ascontiguousarray(query.cells),
        float(query.aspect),
        float(query.cell_side),
        threads=check_threads(threads),
        keep_boxes=bool(return_boxes),
        **asdict(chosen),
    )
    return [
        FoundBox(
            pair[0],
            pair[1],
            score,
            core,
            count,
            coarse,
            boxes if return_boxes else None,
            scores if return_boxes else None,
        )
        for pair, score, core, count, coarse, boxes, scores in found
    ]


def _check_range(name: str, value: Any, low: float, high: float) -> None:
    if not isinstance(value, (int, float, np.integer, np.floating)) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")


def _check_vectors(name: str, array: Any, shape: tuple[int | None, ...]) -> None:
    """Check a float32 array of finite vectors, along the last axis, of length about 1 or less."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        raise ValueError(f"{name} must be a float32 array, got {_kind(array)}")
    fits = array.ndim == len(shape) and all(
        wanted in (None, given) for wanted, given in zip(shape, array.shape, strict=True)
    )
    if not fits:
        asked = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have the shape ({asked}), got {array.shape}")
    _check_lengths(name, array)


def _check_lengths(name: str, array: NDArray[Any]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        wide = array.astype(np.float32, copy=False)
        longest = np.einsum("...d,...d->...", wide, wide).max(initial=0)
    if not longest <= LONGEST**2:  # NaN fails as well
        raise ValueError(
            f"{name} must be finite and of length 1, got a length of {np.sqrt(longest):g}"
        )


def _check_query(query: Any) -> None:
    if not isinstance(query, QueryTemplates):
        raise TypeError(f"query must be QueryTemplates, got {type(query).__name__}")
    _check_vectors("query.parts", query.parts, (None, PARTS, None))
    templates, _, dims = query.parts.shape
    _check_vectors("query.means", query.means, (templates, None))
    _check_vectors("query.cells", query.cells, (None, dims))
    if len(query.cells) > MOST_QUERY_CELLS:
        raise ValueError(
            f"query.cells must be at most {MOST_QUERY_CELLS} cells, got {len(query.cells)}"
        )
    if templates < 1:
        raise ValueError("query.parts must hold at least the native template, got none")
    for name, count in (("query.parts", dims), ("query.means", query.means.shape[1])):
        if not 1 <= count <= MOST_DIMS:
            raise ValueError(f"{name} must have 1 to {MOST_DIMS} dimensions, got {count}")
    sides = query.sides
    if not isinstance(sides, np.ndarray) or sides.dtype != np.float32:
        raise ValueError(f"query.sides must be a float32 array, got {_kind(sides)}")
    if sides.shape != (templates,) or not ((sides > 0) & np.isfinite(sides)).all():
        raise ValueError(
            f"query.sides must be {templates} positive numbers, one per template, got {sides!r}"
        )
    if not (np.diff(sides[1:]) > 0).all():
        raise ValueError(f"query.sides must ascend after the first, got {sides.tolist()}")
    _check_range("query.aspect", query.aspect, 1 / MOST_ASPECT, MOST_ASPECT)
    _check_range("query.cell_side", query.cell_side, 1e-3, 1e4)


def _check_codebooks(codebooks: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if not isinstance(codebooks, (tuple, list)) or len(codebooks) != 2:
        raise TypeError("codebooks must be those of e16 and of e32, a tuple of two arrays")
    for i, codebook in enumerate(codebooks):
        _check_vectors(f"codebooks[{i}]", codebook, CODEBOOK_SHAPE)
    return np.ascontiguousarray(codebooks[0]), np.ascontiguousarray(codebooks[1])


def _check_photo(name: str, photo: Any) -> None:
    if not isinstance(photo, PhotoMap):
        raise TypeError(f"{name} must be a PhotoMap, got {type(photo).__name__}")
    for axis, size in zip(("width", "height"), photo.size, strict=True):
        _check_range(f"{name}.size ({axis})", size, 1e-3, 1e7)
    for layer, layer_map in (("e16", photo.e16), ("e32", photo.e32)):
        _check_map(f"{name}.{layer}", layer_map, photo.size)
    regions = photo.regions
    if not isinstance(regions, np.ndarray) or regions.dtype != np.float32:
        raise ValueError(f"{name}.regions must be a float32 array, got {_kind(regions)}")
    if regions.ndim != 2 or regions.shape[1] != 4:
        raise ValueError(f"{name}.regions must have the shape (R, 4), got {regions.shape}")
    low = np.maximum(regions[:, :2], 0)
    high = np.minimum(regions[:, 2:], np.array(photo.size, np.float64))
    inside = np.isfinite(regions).all(axis=1) & (low < high).all(axis=1)
    if not inside.all():
        raise ValueError(
            f"{name}.regions must be boxes x0 < x1, y0 < y1 inside the photo of "
            f"{photo.size[0]:g} x {photo.size[1]:g} pixels, got {regions[~inside][0].tolist()}"
        )


def _check_map(name: str, layer_map: Any, size: tuple[float, float]) -> None:
    if not isinstance(layer_map, CellMap):
        raise TypeError(f"{name} must be a CellMap, got {type(layer_map).__name__}")
    cells = layer_map.cells
    if not isinstance(cells, np.ndarray) or cells.dtype not in (np.uint8, np.float16, np.float32):
        raise ValueError(f"{name}.cells must be uint8, float16 or float32, got {_kind(cells)}")
    if cells.ndim != 3 or not all(1 <= n <= MOST_CELLS for n in cells.shape):
        raise ValueError(
            f"{name}.cells must have the shape (h, w, D), each 1 to {MOST_CELLS}, got {cells.shape}"
        )
    if cells.dtype != np.uint8:
        _check_lengths(f"{name}.cells", cells)
    for axis, pixels, side, count in zip(
        ("width", "height"), size, layer_map.cell, cells.shape[1::-1], strict=True
    ):
        _check_range(f"{name}.cell ({axis})", side, 1e-3, 1e7)
        if not abs(pixels / side - count) < 1:
            raise ValueError(
                f"{name}: {count} cells of {side:g} pixels do not cover the photo's {axis} of "
                f"{pixels:g} pixels, give or take a cell"
            )


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return type(value).__name__
