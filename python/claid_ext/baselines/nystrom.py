"""One normalised cut by the package `ncut-pytorch`, the fastest NCut package available."""

from __future__ import annotations

from typing import Any

import numpy as np

from claid_ext.baselines.segments import Segments, checked, component_of, to_tree
from claid_ext.tree import RegionTree

__all__ = ["detect", "segment"]


def segment(features: Any, grid: tuple[int, int], *, device: Any = None) -> Segments:
    """Find the one object of an image by TokenCut's rule on that package's second eigenvector.

    Its affinity is its own (a Gaussian of the distance, its width chosen from the data: there is no
    tau). Up to 8192 patches it solves the whole graph by a randomised low-rank decomposition;
    above, a Nystrom sample.

    Parameters
    ----------
    features : (N, D) real, patches row by row over the grid.
    grid : (H, W), H * W = N >= 3.
    device : None for the CPU, or a torch device.

    Raises
    ------
    ImportError : the package is not installed; says which extra brings it.
    """
    try:
        from ncut_pytorch import ncut_fn
    except ImportError as error:
        raise ImportError(
            "this peer calls the package ncut-pytorch: pip install ncut-pytorch"
        ) from error
    import torch

    rows = torch.from_numpy(checked(features, grid, least=3).astype(np.float32))
    vectors, _ = ncut_fn(rows, n_eig=2, device=str(device or "cpu"))
    vector = vectors[:, 1].cpu().double().numpy()
    if vector[np.abs(vector).argmax()] < 0:
        vector = -vector
    mask = component_of((vector > vector.mean()).reshape(grid), int(np.abs(vector).argmax()))
    return Segments(mask[None], cuts=1)


def detect(
    features: Any,
    grid: tuple[int, int],
    *,
    tau: float = 0.2,
    energy_top: float = 0.3,
    device: Any = None,
) -> RegionTree:
    """Return `segment`'s one region as a `RegionTree`; `tau` is only for its connectivity."""
    found = segment(features, grid, device=device)
    return to_tree(found, features, grid, tau=tau, energy_top=energy_top)
