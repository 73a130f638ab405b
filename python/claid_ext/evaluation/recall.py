"""The share of the objects in images that some region covers (paper, section V-C and Fig. 5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["LARGE", "THRESHOLDS", "RecallCurve", "best_overlaps", "recall"]

FloatArray = npt.NDArray[np.float64]

THRESHOLDS: FloatArray = np.arange(10, 20) / 20
"""0.5, 0.55, ... 0.95: COCO's, and the axis of Fig. 5."""

LARGE = 0.02
"""The box of a large object covers more than this part of its image."""


@dataclass(frozen=True)
class RecallCurve:
    """Recall of the objects of a set of images by one detector.

    thresholds float64 (t,). all, large: float64 (t,), part of the objects (of those over 2 % of
    their image) that a region overlaps with at least that IoU; NaN where there is no such object.
    objects, large_objects: how many there are. regions: mean number of regions per image, after
    the budget. images: how many images.
    """

    thresholds: FloatArray
    all: FloatArray
    large: FloatArray
    objects: int
    large_objects: int
    regions: float
    images: int


def best_overlaps(ious: npt.ArrayLike, budget: int | None = None) -> FloatArray:
    """The best overlap of each object with any of the first `budget` regions.

    ious: float (regions, objects), the regions in the detector's order of preference (ours: level
    by level, larger things first). Returns float64 (objects,), 0 where there is no region.

    One region may answer for several objects: the question of Fig. 5 is whether a region for the
    object exists, not whether detections and objects can be paired.
    """
    overlaps = np.asarray(ious, dtype=np.float64)
    if overlaps.ndim != 2:
        raise ValueError(f"ious: wanted shape (regions, objects), got {overlaps.shape}")
    if budget is not None and budget < 1:
        raise ValueError(f"budget: wanted None or at least 1 region, got {budget}")
    best: FloatArray = overlaps[:budget].max(axis=0, initial=0.0)
    return best


def recall(
    images: Iterable[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]],
    budget: int | None = None,
    thresholds: npt.ArrayLike = THRESHOLDS,
) -> RecallCurve:
    """Recall over IoU thresholds, each image (ious, crowd, area_fraction) in turn.

    ious: float (regions, objects). crowd: bool (objects,); a crowd stands for many objects at
    once, so it is neither to be found nor held against a region that hits it. area_fraction: float
    (objects,), the part of the image that the object's box covers.
    """
    steps = np.asarray(thresholds, dtype=np.float64)
    best, fraction, regions, count = [np.zeros(0)], [np.zeros(0)], 0, 0
    for ious, crowd, area in images:
        overlaps = np.asarray(ious, dtype=np.float64)
        kept, parts = ~np.asarray(crowd, dtype=bool), np.asarray(area, dtype=np.float64)
        if overlaps.ndim != 2 or kept.shape != parts.shape or kept.shape != overlaps.shape[1:]:
            raise ValueError(
                f"image {count}: wanted ious (regions, n), crowd (n,), area_fraction (n,), "
                f"got {overlaps.shape}, {kept.shape}, {parts.shape}"
            )
        best.append(best_overlaps(overlaps, budget)[kept])
        fraction.append(parts[kept])
        regions += len(overlaps[:budget])
        count += 1
    overlap, large = np.concatenate(best), np.concatenate(fraction) > LARGE
    return RecallCurve(
        thresholds=steps,
        all=_at_least(overlap, steps),
        large=_at_least(overlap[large], steps),
        objects=len(overlap),
        large_objects=int(np.count_nonzero(large)),
        regions=regions / count if count else float("nan"),
        images=count,
    )


def _at_least(overlap: FloatArray, thresholds: FloatArray) -> FloatArray:
    if not len(overlap):
        return np.full(len(thresholds), np.nan)
    found: FloatArray = (overlap[None, :] >= thresholds[:, None]).mean(axis=1)
    return found
