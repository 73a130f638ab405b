"""How much two regions overlap: intersection over union of boxes, and of masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["box_area", "box_iou", "check_boxes", "mask_iou", "paired_iou"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def check_boxes(boxes: Any, name: str = "boxes") -> FloatArray:
    """Boxes as float64 (n, 4), [x0, y0, x1, y1) with x1 and y1 exclusive; one box may come flat.

    Raises ValueError naming `name` if the shape is another, a number is not finite, or a box ends
    before it begins.
    """
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.shape == (4,):
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name}: wanted shape (n, 4), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: box {int(np.argmin(np.isfinite(array).all(1)))} is not finite")
    backwards = (array[:, 2:] < array[:, :2]).any(axis=1)
    if backwards.any():
        worst = int(np.argmax(backwards))
        raise ValueError(
            f"{name}: box {worst} is {array[worst].tolist()}, wanted x0 <= x1, y0 <= y1"
        )
    return array


def box_area(boxes: npt.ArrayLike) -> FloatArray:
    """Areas of boxes (n, 4) in square pixels, float64 (n,)."""
    array = check_boxes(boxes)
    return (array[:, 2] - array[:, 0]) * (array[:, 3] - array[:, 1])


def box_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """Intersection over union of every box of `first` (n, 4) with every one of `second` (m, 4).

    Boxes are [x0, y0, x1, y1), x1 and y1 exclusive. Returns float64 (n, m) in [0, 1]; two boxes
    without area have 0.
    """
    a, b = check_boxes(first, "first"), check_boxes(second, "second")
    lower = np.maximum(a[:, None, :2], b[None, :, :2])
    upper = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.prod(np.clip(upper - lower, 0.0, None), axis=2)
    return _over_union(intersection, box_area(a), box_area(b))


def paired_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """Intersection over union of each box of `first` (n, 4) with its partner in `second` (n, 4).

    Boxes as of `box_iou`. Returns float64 (n,). Raises ValueError if their numbers differ.
    """
    a, b = check_boxes(first, "first"), check_boxes(second, "second")
    if len(a) != len(b):
        raise ValueError(f"second: wanted {len(a)} boxes, one for each of first, got {len(b)}")
    lower, upper = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    intersection = np.prod(np.clip(upper - lower, 0.0, None), axis=1)
    union = box_area(a) + box_area(b) - intersection
    ratio: FloatArray = np.zeros(len(a))
    np.divide(intersection, union, out=ratio, where=union > 0)
    return ratio


def mask_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """Intersection over union of masks (n, h, w) with masks (m, h, w), as float64 (n, m).

    Masks are bool (anything not 0 is inside) on one raster. An empty mask has 0 with every other.
    Raises ValueError if the rasters differ.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.ndim != 3 or b.ndim != 3 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"masks: wanted (n, h, w) and (m, h, w), got {a.shape} and {b.shape}")
    # Whole numbers below 2^24 are exact in float32, and so is their sum for any raster below that.
    pixels = a.shape[1] * a.shape[2]
    rows = a.reshape(len(a), pixels).astype(np.float32)
    columns = b.reshape(len(b), pixels).astype(np.float32)
    intersection = (rows @ columns.T).astype(np.float64)
    return _over_union(intersection, _count(a), _count(b))


def _count(masks: BoolArray) -> FloatArray:
    return np.asarray(np.count_nonzero(masks, axis=(1, 2)), dtype=np.float64)


def _over_union(intersection: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    union = first[:, None] + second[None, :] - intersection
    ratio: FloatArray = np.zeros_like(intersection)
    np.divide(intersection, union, out=ratio, where=union > 0)
    return ratio
