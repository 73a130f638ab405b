"""Leading eigenvectors of a symmetric matrix, right also where eigenvalues repeat.

LAPACK's solver for a part of the spectrum may return fewer vectors than asked for, even none,
where an eigenvalue repeats, and ARPACK may miss a copy of one or give up. What they return is
therefore checked, and where it is no answer the whole spectrum is computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.baselines.segments import need_scipy

__all__ = ["leading_eigenvectors", "vectors_hold", "whole_spectrum"]

# How far a residual or an inner product may be off, for a matrix of norm 1. Solvers leave N eps,
# 1e-12 at 4500 patches, over the gap to the next eigenvalue where that matters; what ARPACK was
# seen to return for repeated eigenvalues, and is wrong, is off by 1e-4 or more.
_TOLERANCE = 1e-6
_DENSE_BELOW = 32  # rows; ARPACK cannot do 1, and gains nothing on a few

Eigenpairs = tuple[NDArray[np.float64], NDArray[np.float64]]


def leading_eigenvectors(
    matrix: NDArray[np.float64], count: int, *, solver: str = "eigh", device: Any = None
) -> Eigenpairs:
    """Return the `count` largest eigenvalues, ascending, and their eigenvectors.

    Parameters
    ----------
    matrix : float64 (N, N), symmetric, its eigenvalues from -1 to 1.
    count : 1 to N.
    solver : "eigh", LAPACK for that part of the spectrum, or "lanczos", ARPACK.
    device : None for SciPy on the CPU; a torch device for torch's solver there, which takes the
        whole spectrum (`solver` is then not looked at).

    Returns
    -------
    float64 (count,) and (N, count), a column for each eigenvalue, orthonormal.
    """
    if device is not None:
        values, vectors = _by_torch(matrix, count, device)
    elif solver == "lanczos" and max(_DENSE_BELOW, count + 1) <= len(matrix):
        values, vectors = _by_lanczos(matrix, count)
    else:
        values, vectors = _by_subset(matrix, count)
    if vectors_hold(matrix, values, vectors, count):
        return values, vectors
    values, vectors = whole_spectrum(matrix)
    return values[-count:], vectors[:, -count:]


def vectors_hold(
    matrix: NDArray[np.float64],
    values: NDArray[np.float64],
    vectors: NDArray[np.float64],
    count: int,
) -> bool:
    """Whether these are `count` orthonormal eigenvectors of a matrix of norm 1 or less."""
    if vectors.shape != (len(matrix), count) or not np.isfinite(vectors).all():
        return False
    residual = matrix @ vectors - vectors * values
    overlap = vectors.T @ vectors - np.eye(count)
    return bool(max(np.abs(residual).max(), np.abs(overlap).max()) <= _TOLERANCE)


def whole_spectrum(matrix: NDArray[np.float64]) -> Eigenpairs:
    """Return every eigenvalue, ascending, and every eigenvector, by divide and conquer.

    It takes the matrix apart by orthogonal transformations alone, so that repeated eigenvalues get
    as many orthonormal vectors as they have copies.
    """
    need_scipy()
    from scipy.linalg import eigh

    values, vectors = eigh(matrix, driver="evd", check_finite=False)
    return np.asarray(values, np.float64), np.asarray(vectors, np.float64)


def _nothing(matrix: NDArray[np.float64]) -> Eigenpairs:
    return np.empty(0), np.empty((len(matrix), 0))


def _by_subset(matrix: NDArray[np.float64], count: int) -> Eigenpairs:
    need_scipy()
    from scipy.linalg import LinAlgError, eigh

    wanted = [len(matrix) - count, len(matrix) - 1]
    try:
        values, vectors = eigh(matrix, subset_by_index=wanted, check_finite=False)
    except LinAlgError:
        return _nothing(matrix)
    return np.asarray(values, np.float64), np.asarray(vectors, np.float64)


def _by_lanczos(matrix: NDArray[np.float64], count: int) -> Eigenpairs:
    need_scipy()
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    start = np.random.default_rng(0).standard_normal(len(matrix))
    try:
        values, vectors = eigsh(matrix, k=count, which="LA", v0=start)
        if count > 1:

            def without_found(x: NDArray[np.float64]) -> NDArray[np.float64]:
                x = x.ravel()
                rest: NDArray[np.float64] = vectors @ ((values + 1) * (vectors.T @ x))
                return matrix @ x - rest

            # A copy of a repeated eigenvalue that was missed is larger than the last one found.
            others = LinearOperator(matrix.shape, matvec=without_found, dtype=np.float64)
            largest = eigsh(others, k=1, which="LA", v0=start, return_eigenvectors=False)[0]
            if largest > values.min() + _TOLERANCE:
                return _nothing(matrix)
    except ArpackError:
        return _nothing(matrix)
    order = values.argsort()
    return values[order], vectors[:, order]


def _by_torch(matrix: NDArray[np.float64], count: int, device: Any) -> Eigenpairs:
    import torch

    try:
        values, vectors = torch.linalg.eigh(torch.from_numpy(matrix).to(device))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # too many repeated, for one
        return _nothing(matrix)
    return values[-count:].cpu().numpy(), vectors[:, -count:].cpu().numpy()
