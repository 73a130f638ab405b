"""TokenCut (Wang et al., CVPR 2022, "... Unsupervised Object Discovery Using Normalized Cut")."""

from __future__ import annotations

from typing import Any

import numpy as np

from claid_ext.baselines.ncut import affinity, bipartition, second_eigenvector
from claid_ext.baselines.segments import Segments, checked, component_of, to_tree
from claid_ext.tree import RegionTree

__all__ = ["detect", "segment"]


def segment(
    features: Any,
    grid: tuple[int, int],
    *,
    tau: float = 0.2,
    solver: str = "eigh",
    device: Any = None,
) -> Segments:
    """Find the one object of an image by one normalised cut (TokenCut, section 3.2).

    The graph has weight 1 between patches of cosine over `tau`, else 1e-5 (Eq. 5). The second
    smallest generalised eigenvector is split at its mean. The object is the side with the entry of
    largest magnitude, and of that side the connected component with this entry.

    Parameters
    ----------
    features : (N, D) real, patches row by row over the grid.
    grid : (H, W), H * W = N >= 2.
    tau : 0.2 in the paper, for DINO.
    solver, device : see `claid_ext.baselines.ncut.second_eigenvector`.
    """
    rows = checked(features, grid)
    vector = second_eigenvector(affinity(rows, tau=tau), solver=solver, device=device)
    # The entry of largest magnitude is positive, so it lies above the mean.
    side = bipartition(vector).reshape(grid)
    mask = component_of(side, int(np.abs(vector).argmax()))
    return Segments(mask[None], cuts=1)


def detect(
    features: Any,
    grid: tuple[int, int],
    *,
    tau: float = 0.2,
    energy_top: float = 0.3,
    solver: str = "eigh",
    device: Any = None,
) -> RegionTree:
    """Return `segment`'s region as a `RegionTree`; `energy_top` is for its dominance."""
    found = segment(features, grid, tau=tau, solver=solver, device=device)
    return to_tree(found, features, grid, tau=tau, energy_top=energy_top)
