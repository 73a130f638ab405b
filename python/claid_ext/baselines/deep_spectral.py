"""Deep Spectral Methods (Melas-Kyriazi et al., CVPR 2022): the feature Laplacian's eigenvectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.baselines.eigenvectors import leading_eigenvectors
from claid_ext.baselines.ncut import cosines
from claid_ext.baselines.segments import (
    Segments,
    checked,
    components,
    largest_component,
    to_tree,
)
from claid_ext.tree import RegionTree

__all__ = ["detect", "segment"]

_EIGENVECTORS = 15  # that the segmentation looks at
_LLOYD_PASSES = 100
_LEAST_DEGREE = 1e-9  # of a patch that is like none


def segment(
    features: Any,
    grid: tuple[int, int],
    *,
    tau: float = 0.0,
    eigenvectors: int = _EIGENVECTORS,
    min_patches: int = 15,
    solver: str = "eigh",
) -> Segments:
    """Find the salient object and the segments of an image by one eigendecomposition.

    The weights are the cosines over `tau`, the others 0 (the paper's Eq. 1 without its colour term:
    there are features here, and no pixels). Of the normalised Laplacian's eigenvectors:
    region 0 is the object: the smaller side of the Fiedler vector's sign, its largest component;
    then come the components of the segments that k-means makes of the first eigenvectors, as many
    as stand before the widest gap of the eigenvalues.

    Parameters
    ----------
    features : (N, D) real, patches row by row over the grid.
    grid : (H, W), H * W = N >= 3.
    tau : 0 in the paper.
    eigenvectors : how many are computed, the trivial one not counted; no more than N - 2 are.
    min_patches : components of fewer patches are left out.
    solver : "eigh" (dense, LAPACK) or "lanczos" (ARPACK on the same matrix).

    Raises
    ------
    ValueError : eigenvectors < 1, another solver, or what the others say.
    """
    if eigenvectors < 1:
        raise ValueError(f"eigenvectors must be at least 1, got {eigenvectors}")
    rows = checked(features, grid, least=3)
    weights = cosines(rows)
    weights[weights <= tau] = 0
    values, vectors = _laplacian_eigenvectors(weights, min(eigenvectors, len(rows) - 2), solver)

    positive = vectors[:, 1] > 0
    smaller = positive if 2 * positive.sum() <= len(rows) else ~positive
    masks = [largest_component(smaller.reshape(grid))] if smaller.any() else []
    # The gap after eigenvalue i leaves i + 1 segments, so at least two.
    count = 2 + int(np.diff(values[1:]).argmax()) if len(values) > 2 else 2
    labels = _k_means(vectors[:, 1:count], count)
    for label in range(count):
        masks += components((labels == label).reshape(grid), min_patches)
    return Segments(np.array(masks, bool).reshape(-1, *grid), cuts=1)


def detect(
    features: Any,
    grid: tuple[int, int],
    *,
    tau: float = 0.0,
    energy_top: float = 0.3,
    eigenvectors: int = _EIGENVECTORS,
    min_patches: int = 15,
    solver: str = "eigh",
) -> RegionTree:
    """Return `segment`'s regions as a `RegionTree`; `energy_top` is for their dominance."""
    found = segment(
        features,
        grid,
        tau=tau,
        eigenvectors=eigenvectors,
        min_patches=min_patches,
        solver=solver,
    )
    return to_tree(found, features, grid, tau=tau, energy_top=energy_top)


def _laplacian_eigenvectors(
    weights: NDArray[np.float64], count: int, solver: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return eigenvalues (count + 1,), ascending, and eigenvectors of I - D^-1/2 W D^-1/2."""
    if solver not in ("eigh", "lanczos"):
        raise ValueError(f"solver must be eigh or lanczos, got {solver!r}")
    scale = 1 / np.sqrt(np.maximum(weights.sum(axis=1), _LEAST_DEGREE))
    matrix = weights * scale[:, None] * scale
    values, vectors = leading_eigenvectors(matrix, count + 1, solver=solver)
    vectors = vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.where(vectors[largest, range(count + 1)] < 0, -1, 1)
    return 1 - values[::-1], vectors


def _k_means(points: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Lloyd's iterations from seeds that lie farthest from those before: labels (N,)."""
    seeds = [int((points**2).sum(axis=1).argmax())]
    nearest = ((points - points[seeds[0]]) ** 2).sum(axis=1)
    while len(seeds) < count:
        seeds.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((points - points[seeds[-1]]) ** 2).sum(axis=1))
    centres = points[seeds]
    labels = np.full(len(points), -1)
    for _ in range(_LLOYD_PASSES):
        distance = ((points[:, None] - centres) ** 2).sum(axis=2)
        new = distance.argmin(axis=1)
        if np.array_equal(new, labels):
            break
        labels = new
        for label in range(count):
            if (labels == label).any():
                centres[label] = points[labels == label].mean(axis=0)
    return labels
