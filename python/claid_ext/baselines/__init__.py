"""The peers that the paper compares CLAID's detector with, behind one interface.

    from claid_ext.baselines import BASELINES
    tree = BASELINES["tokencut"].detect(features, grid, tau=0.2)

Each is written from its paper's description, on features alone: no pixels, no CRF afterwards. Needs
SciPy (`pip install 'claid_ext[baselines]'`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from claid_ext.baselines import (
    claid_ncut,
    deep_spectral,
    grid,
    lost,
    maskcut,
    nystrom,
    tokencut,
)
from claid_ext.baselines.segments import Segments
from claid_ext.tree import RegionTree

__all__ = ["BASELINES", "Baseline", "Segments"]


@dataclass(frozen=True)
class Baseline:
    """One peer.

    Attributes
    ----------
    title : as tables call it.
    detect : (features (N, D), grid (H, W), **options) -> RegionTree.
    segment : the peer's own work without the statistics that only CLAID asks for, which is what
        is timed: same arguments -> Segments; None where `detect` is that already.
    options : the names of the options common to peers that it takes: tau, min_patches, solver,
        device.
    """

    title: str
    detect: Callable[..., RegionTree]
    segment: Callable[..., Segments] | None
    options: frozenset[str]


BASELINES: dict[str, Baseline] = {
    "tokencut": Baseline(
        "TokenCut", tokencut.detect, tokencut.segment, frozenset({"tau", "solver", "device"})
    ),
    "maskcut": Baseline(
        "MaskCut (3 cuts)", maskcut.detect, maskcut.segment, frozenset({"tau", "solver", "device"})
    ),
    "deep_spectral": Baseline(
        "Deep Spectral",
        deep_spectral.detect,
        deep_spectral.segment,
        frozenset({"tau", "min_patches", "solver"}),
    ),
    # LOST's threshold is not CLAID's tau, and its own default of 0 works best: it takes no tau.
    "lost": Baseline("LOST", lost.detect, lost.segment, frozenset()),
    "claid_ncut": Baseline(
        "CLAID (NCut)",
        claid_ncut.detect,
        None,
        frozenset({"tau", "min_patches", "solver", "device"}),
    ),
    "ncut_pytorch": Baseline(
        "ncut-pytorch", nystrom.detect, nystrom.segment, frozenset({"device"})
    ),
    "grid": Baseline("grid 1x1..4x4", grid.detect, grid.segment, frozenset()),
}
