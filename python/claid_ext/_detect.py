"""`detect`: patch features in, region trees out; and `build_info`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from claid_ext import _core
from claid_ext._arguments import (
    check_device,
    check_images,
    check_options,
    check_threads,
    not_finite,
)
from claid_ext._cuda import cuda_device, prepare_cuda
from claid_ext._version import __version__
from claid_ext.tree import RegionTree

__all__ = ["build_info", "detect"]


def detect(
    features: Any,
    grid: Any,
    *,
    tau: float = 0.2,
    connectivity: float = 0.97,
    energy_top: float = 0.3,
    dominance: float | None = None,
    min_patches: int = 15,
    init: str = "seeds",
    seed: int = 0,
    max_passes: int = 500,
    preset: str | None = None,
    device: Any = None,
    threads: int | None = None,
) -> RegionTree | list[RegionTree]:
    """Cut an image's patch features into a tree of regions (paper, section III, Algorithm 1).

    The answer depends on the features, as float32, and on the options alone: it is the same, bit
    for bit, on every CPU and GPU, for any number of threads, for an image alone or in a batch.

    Parameters
    ----------
    features : (N, D) real numbers, a row for each patch, row-major over the grid; 1 <= N <= 65535.
        A NumPy array of floats or integers, a torch tensor (also bfloat16), or anything with
        `__array__` or `__dlpack__`. Taken without a copy where float32 and C-contiguous, else
        rounded to float32. A batch is one (B, N, D) array, or a list or tuple of (N_i, D_i).
    grid : (H, W) with H * W = N; for a batch, one for all or a sequence of them.
    tau : patches are linked iff their cosine similarity is above it (Eq. 5); -1 to 1.
    connectivity : a region is cut further iff the share of linked pairs in it is below (Eq. 9);
        0 to 1.
    energy_top : the share of the image's patches, with the largest L1 norms, that count as of high
        energy (III-D); 0 to 1, at least one patch.
    dominance : a region is a dummy iff its share of such patches is not above (Eq. 10); 0 to 1.
        None is 0.2, or 0.1 under preset="released".
    min_patches : smaller regions are dropped; 2 or more. 15 is meant for patches of 8 pixels.
    init : how a cut begins: "seeds" (III-B) or "random".
    seed : of the visiting order, and of init="random"; 0 to 2^64 - 1.
    max_passes : sweeps of k-sums in one cut, at most; 1 or more. It hardly ever takes over 20.
    preset : None, or "released" for the start, the moves and the connectivity of the authors'
        code, where these differ from the paper.
    device : None for where the features are; "cpu", "cuda", "cuda:1", ... or a torch.device.
    threads : CPU threads to use; None for all. It never changes the answer.

    Returns
    -------
    RegionTree for (N, D), else a list of one RegionTree for each image.

    Raises
    ------
    TypeError : an argument of the wrong kind, such as complex features or 2.5 for min_patches.
    ValueError : an argument out of range; features with NaN or infinities, at the row and column
        that the message names; a grid that does not fit the features.
    CudaUnavailableError : CUDA asked for where there is none; the message says why. It is a
        ValueError and a RuntimeError.
    MemoryError : the batch does not fit a CUDA device's memory; the message says what would.
    """
    options = check_options(
        tau=tau,
        connectivity=connectivity,
        energy_top=energy_top,
        dominance=dominance,
        min_patches=min_patches,
        init=init,
        seed=seed,
        max_passes=max_passes,
        preset=preset,
    )
    workers = check_threads(threads)
    cuda = cuda_device(features, check_device(device), device)
    run: Callable[..., list[_core.TreeArrays]]
    if cuda is None:
        images = check_images(features, grid)
        run = partial(_core.detect, images.features, images.grids, threads=workers)
    else:
        images, run = prepare_cuda(features, grid, cuda)
    try:
        found = run(options=_core.Options(**options._asdict()))
    except _core.NotFiniteError as error:
        raise not_finite(images.batch, error.image, error.row, error.column, error.value) from None
    trees = [RegionTree(g, *fields) for g, fields in zip(images.grids, found, strict=True)]
    return trees if images.batch else trees[0]


def build_info() -> dict[str, Any]:
    """Say what this build of claid_ext can do on this machine.

    Returns
    -------
    dict with
        version : str.
        simd_compiled : list of str, the SIMD levels in this build.
        simd_usable : list of str, those that this CPU has, the best last.
        simd : str, the level in use (the environment's CLAID_SIMD forces one).
        cuda : bool, whether detect can run on a GPU.
        cuda_reason : str, the GPU found, or why there is none.

    Raises
    ------
    ValueError : CLAID_SIMD names a level that is unknown, or not there.
    """
    cuda, reason = _core.cuda_available()
    return {
        "version": __version__,
        "simd_compiled": _core.compiled_simd_levels(),
        "simd_usable": _core.simd_levels(),
        "simd": _core.simd_level(),
        "cuda": cuda,
        "cuda_reason": reason,
    }
