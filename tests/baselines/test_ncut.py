"""The normalised cut: an eigenvector by any solver, and the cut it makes."""

import numpy as np
import pytest
from claid_ext.baselines.ncut import (
    NON_EDGE,
    SOLVERS,
    affinity,
    bipartition,
    cosines,
    second_eigenvector,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def dense_second(weights):
    """The definition, by NumPy's solver for matrices that are not symmetric."""
    laplacian = np.eye(len(weights)) - weights / weights.sum(axis=1)[:, None]
    values, vectors = np.linalg.eig(laplacian)
    order = values.real.argsort()
    return values.real[order[1]], vectors[:, order[1]].real


def random_weights(n, seed):
    rng = np.random.default_rng(seed)
    weights = rng.random((n, n)) ** 4
    return weights + weights.T


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n", [2, 3, 31, 32, 90])
def test_is_the_second_generalised_eigenvector(solver, n):
    weights = random_weights(n, seed=n)
    value, expected = dense_second(weights)
    y = second_eigenvector(weights, solver=solver)
    degree = weights.sum(axis=1)
    assert np.allclose(degree * y - weights @ y, value * degree * y, atol=1e-8)
    assert np.abs(y @ expected) == pytest.approx(np.linalg.norm(expected), abs=1e-8)
    assert np.linalg.norm(y) == pytest.approx(1)
    assert y[np.abs(y).argmax()] > 0


def test_torch_gives_the_same():
    pytest.importorskip("torch")
    weights = random_weights(60, seed=1)
    assert np.allclose(
        second_eigenvector(weights, device="cpu"), second_eigenvector(weights), atol=1e-9
    )


def test_two_cliques_are_cut_apart():
    side = np.arange(40) < 15
    weights = np.where(side[:, None] == side, 1.0, NON_EDGE)
    for solver in SOLVERS:
        cut = bipartition(second_eigenvector(weights, solver=solver))
        assert (cut == side).all() or (cut == ~side).all()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.permutations(range(12)))
def test_does_not_depend_on_the_order_of_patches(seed, order):
    weights = random_weights(12, seed)
    y = second_eigenvector(weights)
    permuted = second_eigenvector(weights[np.ix_(order, order)])
    assert np.abs(y[list(order)] @ permuted) == pytest.approx(1, abs=1e-6)


def test_cosines_and_affinity():
    features = np.array([[3, 0], [1, 1], [0, 0], [-2, 0]], np.float32)
    half = np.sqrt(0.5)
    assert np.allclose(
        cosines(features), [[1, half, 0, -1], [half, 1, 0, -half], [0, 0, 0, 0], [-1, -half, 0, 1]]
    )
    linked = affinity(features, tau=0.7) == 1
    expected = np.zeros((4, 4), bool)
    expected[:2, :2] = expected[3, 3] = True
    assert np.array_equal(linked, expected)
    assert affinity(features, tau=0.71)[0, 1] == NON_EDGE


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"solver must be one of eigh.*got 'power'"):
        second_eigenvector(np.ones((3, 3)), solver="power")
    for shape in [(1, 1), (3, 4), (5,)]:
        with pytest.raises(ValueError, match="weights must be square"):
            second_eigenvector(np.ones(shape))
