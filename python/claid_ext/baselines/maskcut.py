"""MaskCut of CutLER (Wang et al., CVPR 2023, "Cut and Learn ..."): a few cuts in a chain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.baselines.ncut import affinity, bipartition, second_eigenvector
from claid_ext.baselines.segments import Segments, checked, component_of, to_tree
from claid_ext.overlap import mask_iou
from claid_ext.tree import RegionTree

__all__ = ["detect", "segment"]

_CUTS = 3  # the paper's N
_SMALLEST_AREA = 0.01  # of the image; smaller masks are no objects
_LARGEST_IOU = 0.5  # with the mask before; above it the cut found the same thing again


def segment(
    features: Any,
    grid: tuple[int, int],
    *,
    tau: float = 0.15,
    cuts: int = _CUTS,
    solver: str = "eigh",
    device: Any = None,
) -> Segments:
    """Find up to `cuts` objects by normalised cuts, each excluding the ones before (section 3.2).

    Each cut is TokenCut's. The foreground is the side with the entry of largest magnitude, unless
    that side holds more than two of the image's four corners: then it is the other (at two each the
    entry decides). The mask is the foreground's component with its most prominent entry. The
    features under a mask are zeroed before the next cut (Eq. 3). A mask is rejected under 1 % of
    the image, or over an IoU of 0.5 with the mask before.

    Parameters
    ----------
    features : (N, D) real, patches row by row over the grid.
    grid : (H, W), H * W = N >= 2.
    tau : 0.15 in the paper.
    cuts : how many at most; 3 in the paper.
    solver, device : see `claid_ext.baselines.ncut.second_eigenvector`.

    Raises
    ------
    ValueError : cuts < 1, or what the others say.
    """
    if cuts < 1:
        raise ValueError(f"cuts must be at least 1, got {cuts}")
    rows = checked(features, grid).copy()
    masks: list[NDArray[np.bool_]] = []
    last: NDArray[np.bool_] | None = None
    for _ in range(cuts):
        vector = second_eigenvector(affinity(rows, tau=tau), solver=solver, device=device)
        side = bipartition(vector)
        if _corners(side.reshape(grid)) > 2:
            side = ~side
        if not side.any():
            break
        seed = int(np.where(side, np.abs(vector), -1).argmax())
        mask = component_of(side.reshape(grid), seed)
        rows[mask.ravel()] = 0
        if mask.mean() >= _SMALLEST_AREA and (
            last is None or mask_iou(mask[None], last[None])[0, 0] <= _LARGEST_IOU
        ):
            masks.append(mask)
        last = mask
    return Segments(np.array(masks, bool).reshape(-1, *grid), cuts=cuts)


def detect(
    features: Any,
    grid: tuple[int, int],
    *,
    tau: float = 0.15,
    energy_top: float = 0.3,
    cuts: int = _CUTS,
    solver: str = "eigh",
    device: Any = None,
) -> RegionTree:
    """Return `segment`'s regions as a `RegionTree`; `energy_top` is for their dominance."""
    found = segment(features, grid, tau=tau, cuts=cuts, solver=solver, device=device)
    return to_tree(found, features, grid, tau=tau, energy_top=energy_top)


def _corners(mask: NDArray[np.bool_]) -> int:
    return int(mask[[0, 0, -1, -1], [0, -1, 0, -1]].sum())
