"""CLAID (NCut), the paper's own variant: its tree, with normalised cuts in place of k-sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext import reference
from claid_ext._arguments import Options
from claid_ext.baselines.ncut import NON_EDGE, bipartition, second_eigenvector
from claid_ext.baselines.segments import checked, tree_options
from claid_ext.tree import RegionTree

__all__ = ["detect"]


def detect(
    features: Any,
    grid: tuple[int, int],
    *,
    tau: float = 0.2,
    connectivity: float = 0.97,
    energy_top: float = 0.3,
    dominance: float = 0.2,
    min_patches: int = 15,
    solver: str = "eigh",
    device: Any = None,
) -> RegionTree:
    """Decompose an image as `claid_ext.detect` does, each node by a normalised cut (paper, V-B).

    A node's graph has the weights 1 between linked patches (Eq. 5) and 1e-5 between others; its
    second generalised eigenvector is split at the mean. Components, connectivity, dominance and the
    order of nodes are the reference's, so `moves` is 0 and all else in the tree means the same.

    Parameters
    ----------
    features, grid, tau, connectivity, energy_top, dominance, min_patches : as `claid_ext.detect`.
    solver, device : see `claid_ext.baselines.ncut.second_eigenvector`.
    """
    options = tree_options(
        tau=tau,
        energy_top=energy_top,
        connectivity=connectivity,
        dominance=dominance,
        min_patches=min_patches,
    )
    X = checked(features, grid, least=1)

    def normalised_cut(
        q: NDArray[np.float64], A: NDArray[np.bool_], S: NDArray[np.int64], _: Options
    ) -> tuple[NDArray[np.int64], int]:
        weights = np.where(A[np.ix_(S, S)], 1.0, NON_EDGE)
        np.fill_diagonal(weights, 1.0)
        vector = second_eigenvector(weights, solver=solver, device=device)
        cluster = bipartition(vector).astype(np.int64)
        # Rounding can leave no entry above a mean that all are equal to; both sides must have one.
        cluster[np.abs(vector).argmax()] = 1
        if cluster.all():
            cluster[vector.argmin()] = 0
        return cluster, 0

    return reference.decompose(X, (grid[0], grid[1]), options, normalised_cut)
