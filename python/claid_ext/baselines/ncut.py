"""The normalised cut (Shi and Malik, PAMI 2000) that TokenCut, MaskCut and CLAID (NCut) share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.baselines.segments import need_scipy

__all__ = ["NON_EDGE", "SOLVERS", "affinity", "bipartition", "cosines", "second_eigenvector"]

NON_EDGE = 1e-5  # weight of patches that are not alike: keeps the graph connected (TokenCut, Eq. 5)
SOLVERS = ("eigh", "generalized", "lanczos")
_DENSE_BELOW = 32  # patches; ARPACK cannot do 1, and gains nothing on a few
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
    D^-1/2 W D^-1/2 z = (1 - lambda) z, y = D^-1/2 z, which spares LAPACK a reduction.

    Parameters
    ----------
    weights : float64 (N, N), symmetric, positive, N >= 2.
    solver : "eigh", LAPACK's dense solver for this one eigenvector; "generalized", the same on the
        problem as it is written above, which is how these cuts are usually computed, and slower;
        "lanczos", ARPACK with the known first eigenvector taken out: on photos usually the
        fastest, but slow where many patches are like few others, whose eigenvalues crowd it.
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
    if solver == "generalized" and device is None:
        return _unit(_eigh_generalized(weights, degree))
    scale = 1 / np.sqrt(degree)
    matrix = weights * scale[:, None] * scale
    if device is not None:
        z = _eigh_torch(matrix, device)
    elif solver == "lanczos" and len(matrix) >= _DENSE_BELOW:
        z = _lanczos(matrix, 1 / scale)
    else:
        z = _eigh(matrix)
    return _unit(z * scale)


def bipartition(vector: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Split an eigenvector at its mean (TokenCut, section 3.2): bool (N,), True above."""
    above: NDArray[np.bool_] = vector > vector.mean()
    return above


def _unit(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale to length 1, the largest entry positive: an eigenvector has no sign of its own."""
    y = y / np.linalg.norm(y)
    return -y if y[np.abs(y).argmax()] < 0 else y


def _eigh_generalized(
    weights: NDArray[np.float64], degree: NDArray[np.float64]
) -> NDArray[np.float64]:
    need_scipy()
    from scipy.linalg import eigh

    D = np.diag(degree)
    vectors = eigh(D - weights, D, subset_by_index=[1, 1], overwrite_a=True, check_finite=False)[1]
    return np.asarray(vectors[:, 0], np.float64)


def _eigh(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    need_scipy()
    from scipy.linalg import eigh

    which = len(matrix) - 2
    vectors = eigh(matrix, subset_by_index=[which, which], overwrite_a=True, check_finite=False)[1]
    return np.asarray(vectors[:, 0], np.float64)


def _lanczos(matrix: NDArray[np.float64], first: NDArray[np.float64]) -> NDArray[np.float64]:
    need_scipy()
    from scipy.sparse.linalg import LinearOperator, eigsh

    first = first / np.linalg.norm(first)

    def deflated(x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = x.ravel()
        return matrix @ x - first * (first @ x)

    operator = LinearOperator(matrix.shape, matvec=deflated, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(len(matrix))
    vectors = eigsh(operator, k=1, which="LA", v0=start)[1]
    return np.asarray(vectors[:, 0], np.float64)


def _eigh_torch(matrix: NDArray[np.float64], device: Any) -> NDArray[np.float64]:
    import torch

    vectors = torch.linalg.eigh(torch.from_numpy(matrix).to(device))[1]
    result: NDArray[np.float64] = vectors[:, -2].cpu().numpy()
    return result
