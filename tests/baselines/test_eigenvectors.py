"""Repeated eigenvalues: every solver gives true eigenvectors, whatever LAPACK and ARPACK return."""

import os
import subprocess
import sys

import numpy as np
import pytest
from claid_ext.baselines import claid_ncut, deep_spectral
from claid_ext.baselines.eigenvectors import leading_eigenvectors, vectors_hold, whole_spectrum
from claid_ext.baselines.ncut import NON_EDGE, SOLVERS, second_eigenvector

OPENBLAS_KERNELS = ["Haswell", "SkylakeX", "Zen", "Prescott"]

# Graphs whose second eigenvalue repeats, by name: all alike, none alike, cliques of one size, and
# weights whose second eigenvalue is below 0.
REPEATED = {
    "ones": lambda n: np.ones((n, n)),
    "none alike": lambda n: np.where(np.eye(n) > 0, 1.0, NON_EDGE),
    "cliques": lambda n: np.where(np.arange(n)[:, None] % 4 == np.arange(n) % 4, 1.0, NON_EDGE),
    "negative": lambda n: np.where(np.eye(n) > 0, 0.1, 1.0),
}


def second_value(weights):
    """The second largest eigenvalue of D^-1 W, by NumPy's solver for the whole spectrum."""
    scale = 1 / np.sqrt(weights.sum(axis=1))
    return np.linalg.eigvalsh(weights * scale[:, None] * scale)[-2]


def check_second(weights, y):
    degree = weights.sum(axis=1)
    assert np.isfinite(y).all()
    assert np.linalg.norm(y) == pytest.approx(1)
    assert np.allclose(weights @ y, second_value(weights) * degree * y, atol=1e-6 * degree.max())
    assert abs(degree @ y) <= 1e-6 * degree.sum()  # not the first one, which is constant


@pytest.mark.parametrize("solver", [*SOLVERS, "torch"])
@pytest.mark.parametrize("name", REPEATED)
@pytest.mark.parametrize("n", [4, 8, 16, 33, 40, 64])
def test_second_eigenvector(solver, name, n):
    weights = REPEATED[name](n)
    if solver == "torch":
        pytest.importorskip("torch")
        check_second(weights, second_eigenvector(weights, device="cpu"))
    else:
        check_second(weights, second_eigenvector(weights, solver=solver))


@pytest.mark.parametrize("solver", ["eigh", "lanczos"])
def test_every_copy_of_an_eigenvalue_is_found(solver):
    side = np.arange(60) % 6
    cliques = np.where(side[:, None] == side, 0.1, 0.0)  # 1 six times, else 0
    values, vectors = leading_eigenvectors(cliques, 7, solver=solver)
    assert np.allclose(values, [0] + 6 * [1])
    assert vectors_hold(cliques, values, vectors, 7)


@pytest.mark.parametrize("kernel", OPENBLAS_KERNELS)
def test_on_every_kernel(kernel):
    """OpenBLAS reads the name when it is loaded, so each kernel has its own process."""
    nodeids = [
        f"{__file__}::{test.__name__}"
        for test in (test_second_eigenvector, test_every_copy_of_an_eigenvalue_is_found)
    ]
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "not torch",
            *nodeids,
        ],
        env={**os.environ, "OPENBLAS_CORETYPE": kernel},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def one_too_few(matrix, *args, **kwargs):
    """What LAPACK returned where an eigenvalue repeats: none, of one that was asked for."""
    first, last = kwargs["subset_by_index"]
    values, vectors = np.linalg.eigh(matrix)
    return values[first:last], vectors[:, first:last]


def no_number(matrix, *args, **kwargs):
    count = np.diff(kwargs["subset_by_index"])[0] + 1
    return np.ones(count), np.full((len(matrix), count), np.nan)


def no_convergence(*args, **kwargs):
    raise np.linalg.LinAlgError("the algorithm failed to converge")


@pytest.fixture(params=[one_too_few, no_number, no_convergence])
def failing_subset(request, monkeypatch):
    """SciPy's eigh, failing in one way wherever a part of the spectrum is asked for."""
    import scipy.linalg

    real = scipy.linalg.eigh

    def eigh(matrix, *args, **kwargs):
        if kwargs.get("subset_by_index") is None:
            return real(matrix, *args, **kwargs)
        calls.append(matrix.shape)
        return request.param(matrix, *args, **kwargs)

    calls = []
    monkeypatch.setattr(scipy.linalg, "eigh", eigh)
    return calls


@pytest.mark.parametrize("solver", ["eigh", "generalized"])
def test_lapack_that_returns_no_answer(failing_subset, solver):
    rng = np.random.default_rng(3)
    weights = rng.random((20, 20))
    weights += weights.T
    check_second(weights, second_eigenvector(weights, solver=solver))
    assert failing_subset == [(20, 20)]


def test_peers_where_lapack_returns_no_answer(failing_subset):
    features = np.zeros((16, 5))
    tree = claid_ncut.detect(features, (2, 8))
    assert tree == claid_ncut.detect(features, (2, 8))
    found = deep_spectral.segment(np.random.default_rng(0).random((16, 5)), (2, 8))
    assert np.isin(found.masks.sum(axis=(1, 2)), range(1, 17)).all()
    assert len(failing_subset) >= 3


@pytest.mark.parametrize("error", ["ArpackError", "ArpackNoConvergence"])
def test_arpack_that_gives_up(monkeypatch, error):
    import scipy.sparse.linalg as sparse

    def eigsh(*args, **kwargs):
        if error == "ArpackError":
            raise sparse.ArpackError(-9)
        raise sparse.ArpackNoConvergence("no convergence", np.empty(0), np.empty((40, 0)))

    monkeypatch.setattr(sparse, "eigsh", eigsh)
    weights = REPEATED["cliques"](40)
    check_second(weights, second_eigenvector(weights, solver="lanczos"))


def test_arpack_that_misses_a_copy(monkeypatch):
    import scipy.sparse.linalg as sparse

    real = sparse.eigsh
    matrix = np.diag(np.r_[np.zeros(36), 0.5, 0.5, 1.0, 1.0])

    def eigsh(operator, k, **kwargs):
        if k == 1:
            return real(operator, k=k, **kwargs)
        return np.array([0.5, 0.5, 1.0]), np.eye(40)[:, 36:39]

    monkeypatch.setattr(sparse, "eigsh", eigsh)
    values, vectors = leading_eigenvectors(matrix, 3, solver="lanczos")
    assert np.allclose(values, [0.5, 1, 1])
    assert vectors_hold(matrix, values, vectors, 3)


def test_torch_that_gives_up(monkeypatch):
    torch = pytest.importorskip("torch")

    def eigh(matrix):
        raise torch.linalg.LinAlgError("failed to converge: too many repeated eigenvalues")

    monkeypatch.setattr(torch.linalg, "eigh", eigh)
    weights = REPEATED["cliques"](12)
    check_second(weights, second_eigenvector(weights, device="cpu"))


def test_what_is_no_set_of_eigenvectors():
    matrix = np.diag([-0.5, 0.25, 0.25, 1.0])
    values, vectors = whole_spectrum(matrix)
    assert vectors_hold(matrix, values, vectors, 4)
    assert not vectors_hold(matrix, values[:3], vectors[:, :3], 4)
    assert not vectors_hold(matrix, values[[1, 1]], vectors[:, [1, 1]], 2)
    assert not vectors_hold(matrix, values[:1] + 1e-3, vectors[:, :1], 1)
    assert not vectors_hold(matrix, values[:1], 2 * vectors[:, :1], 1)
    turned = (vectors[:, [0]] + vectors[:, [3]]) / np.sqrt(2)
    assert not vectors_hold(matrix, values[:1], turned, 1)


def test_two_by_eight_patches_of_zeros():
    """What failed with the README's test command on a fresh machine."""
    tree = claid_ncut.detect(np.zeros((16, 1)), (2, 8))
    assert tree.cuts >= 1
