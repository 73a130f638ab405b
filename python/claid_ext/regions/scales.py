"""From detections to regions: those kept at one scale, or at several scales joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claid_ext.overlap import box_iou
from claid_ext.regions.value import Regions

if TYPE_CHECKING:
    from claid_ext.detector import Detection

__all__ = ["SAME_REGION", "join_scales", "of_detection"]

SAME_REGION = 0.8  # regions of two scales whose boxes have this IoU are one


def join_scales(
    found: Sequence[Detection],
    scales: Sequence[float],
    *,
    with_dummies: bool = False,
    whole: bool = True,
) -> Regions:
    """Make one image's regions of its detections at one or more scales.

    Regions of larger scales come first. A region whose box has an IoU of 0.8 or more with one of a
    larger scale is left out.

    Parameters
    ----------
    found : one detection per scale.
    scales : these scales, ascending.
    with_dummies : whether dummies are regions too (paper, Table VI).
    whole : whether an image in which nothing is kept gets its whole area, so that every image can
        be found.

    Returns
    -------
    Regions, with masks on the grid of the largest scale; `tokens` are those of scale 1, at which
    the tokens of a query are made too.
    """
    parts = [of_detection(one, with_dummies) for one in found]
    joined = parts[-1]
    for part in parts[-2::-1]:
        joined = _add_unlike(joined, part)
    if whole and len(joined) == 0:
        joined = replace(Regions.whole(joined.image_size), covered=joined.covered)
    at_one = (part.tokens for part, scale in zip(parts, scales, strict=True) if scale == 1)
    return replace(joined, tokens=next(at_one, None))


def of_detection(found: Detection, with_dummies: bool) -> Regions:
    """Make regions of a detection: those that are kept, or all, in the order of its tree."""
    tree = found.tree
    kept = np.arange(len(tree)) if with_dummies else found.kept
    height, width = tree.grid
    patch_area = found.covered[0] / height * found.covered[1] / width
    tokens = None
    if found.features is not None:
        tokens = (found.features.reshape(height, width, -1), found.covered)
    return Regions(
        image_size=found.image_size,
        boxes=found.boxes[kept].astype(np.float32),
        level=tree.level[kept],
        size=(tree.size[kept] * patch_area).astype(np.float32),
        connectivity=tree.connectivity[kept].astype(np.float32),
        dominance=tree.dominance[kept].astype(np.float32),
        masks=tree.masks(kept),
        covered=found.covered,
        tokens=tokens,
    )


def _add_unlike(fine: Regions, coarse: Regions) -> Regions:
    """Add the regions that only the smaller scale has; their masks go to the finer grid."""
    assert fine.masks is not None
    assert fine.covered is not None
    assert coarse.masks is not None
    assert coarse.covered is not None
    unlike = (box_iou(coarse.boxes, fine.boxes) < SAME_REGION).all(axis=1)
    grids = zip(
        fine.masks.shape[1:], fine.covered, coarse.masks.shape[1:], coarse.covered, strict=True
    )
    rows, columns = (_nearest_patches(*axis) for axis in grids)
    return replace(
        fine,
        boxes=np.concatenate([fine.boxes, coarse.boxes[unlike]]),
        level=np.concatenate([fine.level, coarse.level[unlike]]),
        size=np.concatenate([fine.size, coarse.size[unlike]]),
        connectivity=np.concatenate([fine.connectivity, coarse.connectivity[unlike]]),
        dominance=np.concatenate([fine.dominance, coarse.dominance[unlike]]),
        masks=np.concatenate([fine.masks, coarse.masks[unlike][:, rows][:, :, columns]]),
    )


def _nearest_patches(
    patches: int, covered: float, coarse_patches: int, coarse_covered: float
) -> NDArray[np.int64]:
    """In which coarse patch each patch's centre lies, along one axis; int64 (patches,)."""
    centre = (np.arange(patches) + 0.5) * (covered / patches)
    nearest = (centre * (coarse_patches / coarse_covered)).astype(np.int64)
    return np.minimum(nearest, coarse_patches - 1)
