"""The normalised cut (Shi and Malik, PAMI 2000) that TokenCut, MaskCut and CLAID (NCut) share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.baselines.eigenvectors import leading_eigenvectors, vectors_hold, whole_spectrum
from claid_ext.baselines.segments import need_scipy

__all__ = ["NON_EDGE", "SOLVERS", "affinity", "bipartition", "cosines", "second_eigenvector"]

NON_EDGE = 1e-5  # weight of patches that are not alike: keeps the graph connected (TokenCut, Eq. 5)
SOLVERS = ("eigh", "generalized", "lanczos")
_SMALLEST_NORM = np.finfo(np.float64).tiny


def cosines(features: NDArray[Any]) -> NDArray[np.float64]:
    """Return the cosine of each pair of rows, float64 (N, N); a row of zeros is like none: 0."""
    rows = np.asarray(features, np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _SMALLEST_NORM)
    cosine: NDArray[np.float64] = rows @ rows.T
    return cosine


def affinity(features: NDArray[Any], *, tau: float) -> NDArray[np.float64]:
    """Return the weights of TokenCut's Eq. 5, float64 (N, N): 1 where cosine > tau, else 1e-5."""
    return np.where(cosines(features) > tau, 1.0, NON_EDGE)


def second_eigenvector(
    weights: NDArray[np.float64], *, solver: str = "eigh", device: Any = None
) -> NDArray[np.float64]:
    """Solve (D - W) y = lambda D y for the second smallest lambda (Shi and Malik, Eq. 6).

    Unless the solver is "generalized", through the equal standard problem
    D^-1/2 W D^-1/2 z = (1 - lambda) z, y = D^-1/2 z, which spares LAPACK a reduction. Where the
    second smallest lambda repeats, y is one of its eigenvectors.

    Parameters
    ----------
    weights : float64 (N, N), symmetric, positive, N >= 2.
    solver : "eigh", LAPACK's dense solver for this one eigenvector; "generalized", the same on the
        problem as it is written above, which is how these cuts are usually computed, and slower;
        "lanczos", ARPACK: on photos usually the fastest, but slow where many patches are like few
        others, whose eigenvalues crowd it.
    device : None for SciPy on the CPU; a torch device for torch's dense solver there, which takes
        the whole spectrum (`solver` is then not looked at).

    Returns
    -------
    float64 (N,): y of length 1, its entry of largest magnitude (the first of them) positive.

    Raises
    ------
    ValueError : another solver, or no square matrix of two rows or more.
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1] or len(weights) < 2:
        raise ValueError(f"weights must be square, 2 rows or more, got shape {weights.shape}")
    degree = weights.sum(axis=1)
    scale = 1 / np.sqrt(degree)
    # The known first eigenvector, D^1/2 1, of value 1, goes to the other end: to -1.
    first = np.sqrt(degree / degree.sum())
    matrix = weights * scale[:, None] * scale - 2 * np.outer(first, first)
    if solver == "generalized" and device is None:
        z = _generalized(weights, degree, matrix)
    else:
        z = leading_eigenvectors(matrix, 1, solver=solver, device=device)[1][:, 0]
    return _unit(z * scale)


def bipartition(vector: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Split an eigenvector at its mean (TokenCut, section 3.2): bool (N,), True above."""
    above: NDArray[np.bool_] = vector > vector.mean()
    return above


def _unit(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale to length 1, the largest entry positive: an eigenvector has no sign of its own."""
    y = y / np.linalg.norm(y)
    return -y if y[np.abs(y).argmax()] < 0 else y


def _generalized(
    weights: NDArray[np.float64], degree: NDArray[np.float64], matrix: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return z = D^1/2 y of the problem as it is written; `matrix` is the equal standard one."""
    need_scipy()
    from scipy.linalg import LinAlgError, eigh

    D = np.diag(degree)
    try:
        values, y = eigh(
            D - weights, D, subset_by_index=[1, 1], overwrite_a=True, check_finite=False
        )
    except LinAlgError:
        values, y = np.empty(0), np.empty((len(degree), 0))
    z = y * np.sqrt(degree)[:, None]
    if not vectors_hold(matrix, 1 - values, z, 1):
        z = whole_spectrum(matrix)[1][:, -1:]
    return np.asarray(z[:, 0], np.float64)
