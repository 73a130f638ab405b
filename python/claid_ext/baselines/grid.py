"""What every detector must beat: the boxes of regular grids, which ignore the image."""

from __future__ import annotations

from typing import Any

import numpy as np

from claid_ext.baselines.segments import Segments, checked, to_tree
from claid_ext.tree import RegionTree

__all__ = ["detect", "segment"]

_FINEST = 4  # 1 + 4 + 9 + 16 = 30 boxes, the paper's number of regions per image


def segment(features: Any, grid: tuple[int, int], *, finest: int = _FINEST) -> Segments:
    """Return the cells of the 1x1, 2x2, ... grids over an image, coarse first.

    Parameters
    ----------
    features : (N, D) real; only their number is used.
    grid : (H, W), H * W = N.
    finest : cells along each side of the finest grid; cells of no patch are left out.

    Raises
    ------
    ValueError : finest < 1, or what the others say.
    """
    if finest < 1:
        raise ValueError(f"finest must be at least 1, got {finest}")
    checked(features, grid, least=1)
    height, width = grid
    masks = []
    for cells in range(1, finest + 1):
        row = np.arange(height) * cells // height
        column = np.arange(width) * cells // width
        cell = row[:, None] * cells + column
        masks += [cell == c for c in range(cells * cells) if (cell == c).any()]
    return Segments(np.array(masks), cuts=0)


def detect(
    features: Any,
    grid: tuple[int, int],
    *,
    tau: float = 0.2,
    energy_top: float = 0.3,
    finest: int = _FINEST,
) -> RegionTree:
    """Return the cells as a `RegionTree`; `tau` and `energy_top` only for their statistics."""
    return to_tree(
        segment(features, grid, finest=finest), features, grid, tau=tau, energy_top=energy_top
    )
