"""What a flat peer returns, and how it becomes a `RegionTree` that CLAID can be compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext import reference
from claid_ext._arguments import Options, check_finite, check_images, check_options
from claid_ext.tree import RegionTree

__all__ = [
    "Segments",
    "checked",
    "component_of",
    "components",
    "largest_component",
    "need_scipy",
    "to_tree",
    "tree_options",
]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Segments:
    """Regions without a hierarchy, in the order found: what a peer's own work ends with.

    Attributes
    ----------
    masks : bool (R, H, W); masks may overlap; none is empty.
    cuts : how many eigenproblems were solved to find them.
    """

    masks: Mask
    cuts: int


def checked(features: Any, grid: tuple[int, int], *, least: int = 2) -> NDArray[np.float32]:
    """Return one image's features as float32 (N, D), N >= `least`, finite, N = H * W of the grid.

    Raises ValueError or TypeError naming what is wrong, as `claid_ext.detect` does.
    """
    images = check_images(features, grid)
    if images.batch:
        raise ValueError("features must be of one image, (N, D): peers take no batch")
    rows = images.features[0]
    if len(rows) < least:
        raise ValueError(f"features must have at least {least} patches here, got {len(rows)}")
    check_finite(images)
    return rows


def component_of(mask: Mask, patch: int) -> Mask:
    """Return the 4-connected component of `mask`, bool (H, W), that holds a patch of it."""
    labels, _ = _label(mask)
    inside: Mask = labels == labels.flat[patch]
    return inside & mask


def components(mask: Mask, min_patches: int) -> list[Mask]:
    """Return the 4-connected components of at least so many patches, by their first patch."""
    labels, count = _label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    return [labels == c for c in range(1, count + 1) if sizes[c] >= min_patches]


def largest_component(mask: Mask) -> Mask:
    """Return the largest 4-connected component of a mask that is not empty; first on ties."""
    labels, _ = _label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: Mask = labels == sizes.argmax()
    return largest


def to_tree(
    found: Segments, features: Any, grid: tuple[int, int], *, tau: float, energy_top: float = 0.3
) -> RegionTree:
    """Return a peer's regions as a `RegionTree` of one level, with CLAID's statistics of each.

    Connectivity (Eq. 9) and dominance (Eq. 10) are `claid_ext.reference`'s; the peers know no
    dummies, so no region is one, and no moves. A region of one patch has connectivity 1.

    Raises ValueError for options that `claid_ext.detect` would not take.
    """
    tree_options(tau=tau, energy_top=energy_top)
    X = checked(features, grid, least=1)
    A = reference.affinity(reference.q15_rows(X).astype(np.float64), tau)
    high = reference.high_energy(reference.energy(X), energy_top)
    regions = [np.flatnonzero(mask) for mask in found.masks]
    sizes = [len(region) for region in regions]
    count = len(regions)
    return RegionTree(
        grid=(grid[0], grid[1]),
        parent=np.full(count, -1, np.int32),
        level=np.ones(count, np.int32),
        size=np.array(sizes, np.int32),
        connectivity=np.array(
            [reference.connectivity(A, r) if len(r) > 1 else 1.0 for r in regions], np.float64
        ),
        dominance=np.array([reference.dominance(high, r) for r in regions], np.float64),
        dummy=np.zeros(count, bool),
        boxes=np.array([_box(mask) for mask in found.masks], np.int32).reshape(-1, 4),
        cuts=found.cuts,
        moves=0,
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        members=np.concatenate([*regions, np.empty(0, np.int64)]).astype(np.uint16),
    )


def tree_options(
    *,
    tau: float,
    energy_top: float,
    connectivity: float = 0.97,
    dominance: float = 0.2,
    min_patches: int = 15,
) -> Options:
    """Check the options of `claid_ext.detect` that peers share, and add the ones they lack."""
    return check_options(
        tau=tau,
        connectivity=connectivity,
        energy_top=energy_top,
        dominance=dominance,
        min_patches=min_patches,
        init="seeds",
        seed=0,
        max_passes=500,
        preset=None,
    )


def need_scipy() -> None:
    """Raise an ImportError that says which extra brings SciPy, where it is not installed."""
    try:
        import scipy  # noqa: F401
    except ImportError as error:
        raise ImportError("the peers need SciPy: pip install 'claid_ext[baselines]'") from error


def _label(mask: Mask) -> tuple[NDArray[np.int32], int]:
    need_scipy()
    from scipy.ndimage import label

    labels, count = label(mask)
    return labels, int(count)


def _box(mask: Mask) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
