"""Queries and hits: what is asked, and what is answered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Hit", "Query", "as_query", "is_one_query", "query_boxes"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Query:
    """A thing to find, shown by an image.

    Attributes
    ----------
    image : a path, a PIL image or a uint8 array (height, width, 3).
    boxes : (4,) or (B, 4) numbers, [x0, y0, x1, y1) in the upright image's pixels: several views
        of one thing, the best of which counts; None for the whole image.
    all_of : whether the boxes show different things, all of which are wanted: an image's score
        is then the sum over the boxes.
    """

    image: Any
    boxes: Any = None
    all_of: bool = False


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes
    ----------
    image : its path, as in the index.
    box : where the thing is, (x0, y0, x1, y1) in pixels of the upright image: found by stage 2, or
        the image's best region where stage 2 did not look.
    score : what hits are ranked by: the cosine of stage 1, plus core / 1.5 of stage 2 where it
        looked; the sum over the boxes where all of several are wanted.
    level : depth of the stored region in its tree; 1 for those cut from the whole image.
    parts : where all of several boxes are wanted, a hit for each of them; else empty.
    region : the stored region that overlaps the box most, as `box`.
    similarity : of stage 1 alone: the cosine of the query and the image's best region, -1 to 1; the
        sum over the boxes where all of several are wanted.
    probability : that the image shows the thing, 0 to 1; the product over the boxes where all of
        several are wanted. None where that is not calibrated: with other networks than
        efficientnet_lite0, for images that stage 2 did not look at, and if it looked at fewer than
        8 (`claid_ext.search.likely`).
    likely : whether it probably does: its probability is high enough; None as there.
    """

    image: str
    box: Box
    score: float
    level: int
    parts: tuple[Hit, ...] = ()
    region: Box | None = None
    similarity: float | None = None
    probability: float | None = None
    likely: bool | None = None


def as_query(query: Any) -> Query:
    """Return a Query, an (image, box) pair or an image as a Query."""
    if isinstance(query, Query):
        return query
    if isinstance(query, tuple):
        if len(query) != 2:
            raise ValueError(f"a query must be an image or (image, box), got {len(query)} things")
        return Query(*query)
    return Query(query)


def is_one_query(queries: Any) -> bool:
    """Whether this is a query rather than a sequence of them."""
    return isinstance(queries, Query | tuple | str | os.PathLike | np.ndarray) or not isinstance(
        queries, Sequence
    )


def query_boxes(query: Query, image_size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a query's boxes, clipped to its image, float32 (B, 4).

    Raises
    ------
    ValueError : not (4,) or (B, 4) finite numbers, empty, or outside the image.
    """
    height, width = image_size
    if query.boxes is None:
        return np.array([[0, 0, width, height]], np.float32)
    boxes = np.asarray(query.boxes, np.float64)
    boxes = boxes[None] if boxes.ndim == 1 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) == 0 or not np.isfinite(boxes).all():
        raise ValueError(f"boxes must be (4,) or (B, 4) finite numbers, got {query.boxes!r}")
    clipped = np.clip(boxes, 0, [width, height, width, height])
    rounded = clipped.astype(np.float32)
    for box, inside, kept in zip(boxes.tolist(), clipped, rounded, strict=True):
        if not _is_empty(box) and _is_empty(inside):
            raise ValueError(f"box {box} is outside the image of {width} x {height} pixels")
        if _is_empty(kept):  # also where the sides are one float32
            raise ValueError(f"box {box} is empty: it must be x0 y0 x1 y1 with x0 < x1, y0 < y1")
    return rounded


def _is_empty(box: Any) -> bool:
    return bool(box[0] >= box[2] or box[1] >= box[3])
