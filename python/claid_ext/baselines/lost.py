"""LOST (Simeoni et al., BMVC 2021): an object grown from the patch similar to the fewest others."""

from __future__ import annotations

from typing import Any

from claid_ext.baselines.ncut import cosines
from claid_ext.baselines.segments import Segments, checked, component_of, to_tree
from claid_ext.tree import RegionTree

__all__ = ["detect", "segment"]

_CANDIDATES = 100  # the paper's k


def segment(
    features: Any, grid: tuple[int, int], *, tau: float = 0.0, candidates: int = _CANDIDATES
) -> Segments:
    """Find the one object of an image without any eigenproblem (LOST, section 3).

    Patches are linked where their cosine is over `tau` (Eq. 1). The seed is the patch of lowest
    degree (Eq. 2): objects are small, ground is large. The seed is expanded to those of the
    `candidates` patches of lowest degree that are linked to it (Eq. 3), and the object is what is
    like these on average (Eq. 4): the component of it that holds the seed.

    Parameters
    ----------
    features : (N, D) real, patches row by row over the grid.
    grid : (H, W), H * W = N >= 2.
    tau : 0 in the paper, for the keys of DINO's last layer.
    candidates : 100 in the paper.

    Raises
    ------
    ValueError : candidates < 1, or what the others say.
    """
    if candidates < 1:
        raise ValueError(f"candidates must be at least 1, got {candidates}")
    alike = cosines(checked(features, grid))
    linked = alike > tau
    degree = linked.sum(axis=1)
    order = degree.argsort(kind="stable")
    seed = int(order[0])
    lowest = order[:candidates]
    expanded = lowest[linked[seed, lowest] | (lowest == seed)]
    side = alike[:, expanded].mean(axis=1) > tau
    side[seed] = True
    return Segments(component_of(side.reshape(grid), seed)[None], cuts=0)


def detect(
    features: Any,
    grid: tuple[int, int],
    *,
    tau: float = 0.0,
    energy_top: float = 0.3,
    candidates: int = _CANDIDATES,
) -> RegionTree:
    """Return `segment`'s region as a `RegionTree`; `energy_top` is for its dominance."""
    found = segment(features, grid, tau=tau, candidates=candidates)
    return to_tree(found, features, grid, tau=tau, energy_top=energy_top)
