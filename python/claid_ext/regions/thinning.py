"""Which regions of many are kept: those that overlap the others least."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from claid_ext.overlap import box_iou

__all__ = ["checked_most", "thin"]

ROUNDING = 1e-9  # by how much two sums of the same overlaps may differ


def thin(boxes: ArrayLike, most: int) -> NDArray[np.int64]:
    """Choose at most `most` of an image's boxes.

    While there are more, take the pair that overlaps most (IoU) and drop the box that overlaps the
    others more, by the sum of its IoU with the remaining ones. In a tie the pair with the lower
    numbers is taken, and the box with the lower number stays.

    Parameters
    ----------
    boxes : (R, 4), [x0, y0, x1, y1).
    most : how many to keep, at least 1.

    Returns
    -------
    int64 (min(R, most),), the numbers of the kept boxes, ascending.

    Raises
    ------
    ValueError : `most` is below 1; boxes are not (n, 4).
    """
    if isinstance(most, bool) or not isinstance(most, int | np.integer) or most < 1:
        raise ValueError(f"most must be a whole number from 1 on, got {most!r}")
    overlap = box_iou(boxes, boxes)
    np.fill_diagonal(overlap, 0.0)
    left = np.ones(len(overlap), bool)
    others = overlap.sum(axis=1)
    pairs = np.triu(overlap, 1) - np.tri(len(overlap))  # each pair once, the rest below 0
    for _ in range(len(overlap) - most):
        first, second = np.unravel_index(pairs.argmax(), pairs.shape)
        gone = first if others[first] > others[second] + ROUNDING else second
        left[gone] = False
        others -= overlap[gone]
        pairs[gone, :] = pairs[:, gone] = -1.0
    return np.flatnonzero(left)


def checked_most(max_regions: int | None) -> int | None:
    """Return how many regions there may be at most, None for any number.

    Raises ValueError below 1.
    """
    if max_regions is not None and max_regions < 1:
        raise ValueError(f"max_regions must be at least 1 or None, got {max_regions}")
    return max_regions
