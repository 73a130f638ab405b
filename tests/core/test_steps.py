"""The steps of the reference against the definitions that they stand for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from claid_ext import reference
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def q(make_features: Callable[..., Any]) -> Any:
    return reference.q15_rows(make_features("blobs", 3, 9, 8, 21)).astype(np.float64)


def whole(rows: Any) -> list[list[int]]:
    """Rows as Python integers, which never round."""
    return [[int(x) for x in row] for row in rows]


def dot(a: list[int], b: list[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("columns", [1, 7, 16, 17, 31, 48, 100, 769])
def test_lane_sum_is_16_lanes_in_order(columns: int) -> None:
    rng = np.random.default_rng(columns)
    terms = 10.0 ** rng.uniform(-12, 12, (4, columns))
    for row, found in zip(terms, reference.lane_sum(terms), strict=True):
        lanes = [0.0] * 16
        for k, term in enumerate(row.tolist()):
            lanes[k % 16] += term
        for half in (8, 4, 2, 1):
            for j in range(half):
                lanes[j] += lanes[j + half]
        assert found == lanes[0]


def test_lane_sum_tells_orders_apart() -> None:
    """One order matters: another gives another last bit, so this is really tested above."""
    terms = 10.0 ** np.random.default_rng(0).uniform(-12, 12, (50, 100))
    assert (reference.lane_sum(terms) != terms.sum(axis=1)).any()


def test_q15_rows_by_hand() -> None:
    X = np.array([[3, 4], [0, 0], [-1, 0], [1e-45, 1e-45], [3e38, -3e38]], np.float32)
    # 32767 * 3/5 = 19660.2, * 4/5 = 26213.6; 32767 / sqrt 2 = 23169.77.
    wanted = [[19660, 26214], [0, 0], [-32767, 0], [23170, 23170], [23170, -23170]]
    assert reference.q15_rows(X).tolist() == wanted


def test_q15_rows_round_half_to_even() -> None:
    # The row is 32767 * 2 long, so that scaling halves it: 1 -> 0.5 -> 0 and 3 -> 1.5 -> 2.
    rest = (2 * 32767) ** 2 - 1 - 9
    squares = []
    while rest:
        squares.append(math.isqrt(rest))
        rest -= squares[-1] ** 2
    X = np.array([[1, 3, *squares]], np.float32)
    assert reference.norms(X)[0] == 2 * 32767
    assert reference.q15_rows(X)[0, :2].tolist() == [0, 2]


def test_energy_is_the_sum_of_absolute_values() -> None:
    X = np.array([[1, -2, 3.5], [0, 0, 0], [3e38, -3e38, 3e38]], np.float32)
    assert reference.energy(X).tolist() == [6.5, 0.0, math.inf]


@pytest.mark.parametrize(
    ("top", "wanted"),
    [(0.0, [4]), (0.1, [4]), (0.3, [1, 4]), (0.5, [1, 2, 3, 4]), (1.0, [0, 1, 2, 3, 4])],
)
def test_high_energy_keeps_ties(top: float, wanted: list[int]) -> None:
    energies = np.array([1, 4, 3, 3, 5], np.float32)
    assert np.flatnonzero(reference.high_energy(energies, top)).tolist() == wanted


@pytest.mark.parametrize("tau", [-1.0, -0.1, 0.0, 0.2, 0.55, 1.0])
def test_affinity_is_eq_5(q: Any, tau: float) -> None:
    rows = whole(q)
    threshold = math.floor(tau * 1073676289.0)
    wanted = [
        [i != j and dot(rows[i], rows[j]) > threshold for j in range(len(rows))]
        for i in range(len(rows))
    ]
    np.testing.assert_array_equal(reference.affinity(q, tau), wanted)


def test_affinity_is_above_tau_not_at_it() -> None:
    q = np.array([[9, 0], [0, 9], [-1, 9]], np.float64)
    # Products 0, -9 and 81; no patch is linked to itself.
    wanted = [[False, False, False], [False, False, True], [False, True, False]]
    assert reference.affinity(q, 0.0).tolist() == wanted
    just_below = reference.affinity(q, -1 / 32767**2)
    assert just_below[0, 1]
    assert not just_below[0, 2]


def test_affinity_in_blocks_is_the_affinity(make_features: Callable[..., Any]) -> None:
    q = reference.q15_rows(make_features("blobs", 1, 30, 40, 19)).astype(np.float64)
    similar = q.astype(np.int64) @ q.T.astype(np.int64) > math.floor(0.2 * 1073676289.0)
    np.fill_diagonal(similar, False)
    np.testing.assert_array_equal(reference.affinity(q, 0.2), similar)


def test_seeds_are_the_most_and_the_least_linked(q: Any) -> None:
    S = np.arange(5, 60, 3)
    A = reference.affinity(q, 0.3)
    degree = {int(i): sum(bool(A[i, j]) for j in S) for i in S}
    plus = min(degree, key=lambda i: (-degree[i], i))
    minus = min(degree, key=lambda i: (degree[i], i))
    assert degree[plus] > degree[minus]
    assert reference.seeds(q, A, S) == (plus, minus)


def test_seeds_among_equals() -> None:
    """All degrees equal: s+ is the lowest patch, s- the one least similar to it."""
    q = np.array([[9, 0], [9, 0], [0, 9], [-9, 0], [-9, 0]], np.float64)
    none = np.zeros((5, 5), bool)
    assert reference.seeds(q, none, np.array([0, 1, 2, 3, 4])) == (0, 3)
    assert reference.seeds(q, none, np.array([1, 2])) == (1, 2)


def test_seed_start() -> None:
    q = np.array([[9, 0], [8, 1], [5, 5], [1, 8], [0, 9], [0, 0]], np.float64)
    A = np.zeros((6, 6), bool)
    A[0, [1, 2, 3, 5]] = A[[1, 2, 3, 5], 0] = True
    A[4, 3] = A[3, 4] = True
    S = np.arange(6)
    # Degrees 4, 1, 1, 2, 1, 1: s+ = 0 and s- = 1.
    assert reference.seeds(q, A, S) == (0, 1)
    assert reference.seed_start(q, A, S).tolist() == [1, 0, 0, 0, 0, 0]
    # Linked to 0 and not to 1: 2, 3 and 5.
    assert reference.seed_start(q, A, S, released=True).tolist() == [1, 0, 1, 1, 0, 1]


def test_mix_is_splitmix64() -> None:
    # The published first outputs of splitmix64 for seed 1234567.
    state, outputs = 1234567, []
    for _ in range(5):
        outputs.append(reference.mix(state))
        state = (state + 0x9E3779B97F4A7C15) % 2**64
    assert outputs == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert 0 <= reference.mix(2**64 - 1) < 2**64


@given(st.integers(1, 700), st.integers(0, 2**64 - 1), st.integers(0, 499), st.integers(0, 60000))
def test_visiting_order_is_a_permutation(k: int, seed: int, sweep: int, first: int) -> None:
    S = first + np.arange(k)
    order = reference.visiting_order(S, seed, sweep)
    assert sorted(order.tolist()) == list(range(k))


def test_visiting_order_by_definition() -> None:
    S = np.arange(40, 100)
    key = reference.mix(9)
    for v in (40, 60, 3):
        key = reference.mix(key ^ v)
    a = 1 + (key % 2**32) % 60
    while math.gcd(a, 60) > 1:
        a = a % 60 + 1
    b = key // 2**32 % 60
    wanted = [(a * t + b) % 60 for t in range(60)]
    assert reference.visiting_order(S, 9, 3).tolist() == wanted
    assert reference.visiting_order(S, 9, 4).tolist() != wanted
    assert reference.visiting_order(S, 10, 3).tolist() != wanted


@given(st.integers(2, 40), st.integers(0, 2**64 - 1))
def test_random_start_leaves_no_cluster_empty(k: int, seed: int) -> None:
    assert set(reference.random_start(np.arange(7, 7 + k), seed).tolist()) == {0, 1}


@pytest.mark.parametrize("k", [2, 3, 4, 50])
def test_random_start_by_definition(k: int) -> None:
    S = np.arange(11, 11 + 2 * k, 2)
    empty = 0
    for seed in range(64):
        key = reference.mix(seed)
        for v in (11, k, 2**32):
            key = reference.mix(key ^ v)
        wanted = [reference.mix(key ^ p) % 2 for p in S.tolist()]
        if len(set(wanted)) == 1:
            empty += 1
            wanted[0] = 1 - wanted[0]  # the first patch goes to the empty cluster
        assert reference.random_start(S, seed).tolist() == wanted
    assert empty > 0 or k == 50


def eq_1(q: Any, S: Any, cluster: Any) -> int:
    """Squared distances of all ordered pairs inside a cluster, pair by pair."""
    rows = whole(q[S])
    return sum(
        sum((x - y) ** 2 for x, y in zip(rows[i], rows[j], strict=True))
        for i, j in itertools.product(range(len(S)), repeat=2)
        if cluster[i] == cluster[j]
    )


def test_objective_is_eq_1(q: Any) -> None:
    S = np.arange(10, 40)
    cluster = reference.random_start(S, 1)
    assert reference.objective(q, S, cluster) == eq_1(q, S, cluster)


def test_k_sums_moves_what_lowers_eq_1_and_nothing_else(q: Any) -> None:
    """Sweeps over brute force: a move is made iff Eq. 1, pair by pair, falls."""
    S = np.arange(3, 40, 2)
    cluster = start = reference.random_start(S, 5)
    moves = sweep = 0
    while True:
        before = cluster.copy()
        cluster = cluster.copy()
        for i in reference.visiting_order(S, 5, sweep):
            moved = cluster.copy()
            moved[i] = 1 - moved[i]
            alone = (cluster == cluster[i]).sum() == 1
            if not alone and eq_1(q, S, moved) < eq_1(q, S, cluster):
                cluster = moved
                moves += 1
        sweep += 1
        if (cluster == before).all():
            break
    assert moves > 3
    assert sweep > 1
    found, made = reference.k_sums(q, S, start, seed=5)
    assert (found.tolist(), made) == (cluster.tolist(), moves)


def test_k_sums_lowers_the_objective_by_every_sweep(make_features: Callable[..., Any]) -> None:
    q = reference.q15_rows(make_features("noise", 2, 20, 20, 30)).astype(np.float64)
    S = np.arange(400)
    start = reference.random_start(S, 0)
    values, counts = [reference.objective(q, S, start)], [0]
    for passes in range(1, 30):
        cluster, moves = reference.k_sums(q, S, start, max_passes=passes)
        if moves == counts[-1]:
            break
        values.append(reference.objective(q, S, cluster))
        counts.append(moves)
    assert len(values) > 3
    assert all(later < earlier for earlier, later in itertools.pairwise(values))
    # Where it stopped, no single move would have lowered the objective.
    for i in range(400):
        moved = cluster.copy()
        moved[i] = 1 - moved[i]
        assert reference.objective(q, S, moved) >= values[-1]


def test_k_sums_never_empties_a_cluster() -> None:
    q = np.array([[9, 0], [0, 9], [0, 9], [0, 9]], np.float64)
    cluster, moves = reference.k_sums(q, np.arange(4), np.array([0, 0, 0, 1]))
    assert sorted(np.bincount(cluster).tolist()) == [1, 3]
    assert moves > 0


def test_released_moves_must_gain_a_length(q: Any) -> None:
    S = np.arange(60)
    start = reference.random_start(S, 0)
    _, ordinary = reference.k_sums(q, S, start)
    cluster, released = reference.k_sums(q, S, start, released=True)
    assert 0 < released <= ordinary
    f = (q[S] * q[S]).sum(axis=1)
    for i in range(60):
        moved = cluster.copy()
        moved[i] = 1 - moved[i]
        # The objective counts each pair twice, a move's gain once.
        gain = (reference.objective(q, S, cluster) - reference.objective(q, S, moved)) // 2
        assert gain <= f[i]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_components_are_those_of_8_neighbours(height: int, width: int, seed: int) -> None:
    patches = np.flatnonzero(np.random.default_rng(seed).random(height * width) < 0.5)
    # Brute force: merge the labels of neighbouring patches until nothing changes.
    label = {p: p for p in patches.tolist()}
    changed = True
    while changed:
        changed = False
        for a, b in itertools.permutations(label, 2):
            near = abs(a // width - b // width) <= 1 and abs(a % width - b % width) <= 1
            if near and label[b] < label[a]:
                label[a], changed = label[b], True
    wanted = [[p for p in label if label[p] == first] for first in sorted(set(label.values()))]
    found = reference.components(patches, (height, width))
    assert [component.tolist() for component in found] == wanted


def test_connectivity_and_dominance_are_eq_9_and_10(q: Any) -> None:
    A = reference.affinity(q, 0.3)
    region = np.arange(2, 60, 3)
    pairs = list(itertools.combinations(region.tolist(), 2))
    linked = sum(bool(A[i, j]) for i, j in pairs)
    assert 0 < linked < len(pairs)
    assert reference.connectivity(A, region) == float(Fraction(linked, len(pairs)))
    k = len(region)
    released = Fraction(2 * linked + k, k * (k - 1))
    assert reference.connectivity(A, region, released=True) == float(released)
    high = np.arange(len(q)) < 30
    assert reference.dominance(high, region) == float(Fraction(10, k))


def test_a_tree_by_hand() -> None:
    """Two objects on a background, one of two parts: every field of the tree is known."""
    picture = [
        "..........",
        ".aaa..ccc.",
        ".aaa..ccc.",
        ".bbb......",
        ".bbb......",
        "..........",
    ]
    directions = {".": (4, 0, 0), "a": (0, 9, 3), "b": (0, 9, -3), "c": (0, 0, 9)}
    X = np.array([directions[p] for p in "".join(picture)], np.float32)
    # At tau = 0.9, a and b (cosine 0.8) are not linked, nor either to c (0.32 and -0.32).
    tree = reference.detect(X, (6, 10), tau=0.9, min_patches=3, energy_top=0.3, dominance=0.2)
    shapes = [
        "".join(picture[p // 10][p % 10] for p in tree.patches(i).tolist())
        for i in range(len(tree))
    ]
    named = {"".join(sorted(set(shape))): i for i, shape in enumerate(shapes)}
    assert {"a", "b", "c", "."} <= set(named)
    for part, box in {"a": [1, 1, 4, 3], "b": [1, 3, 4, 5], "c": [6, 1, 9, 3]}.items():
        i = named[part]
        assert tree.boxes[i].tolist() == box
        assert tree.size[i] == 6
        assert tree.connectivity[i] == 1.0
        assert tree.dominance[i] == 1.0
        assert not tree.dummy[i]
    background = named["."]
    assert tree.size[background] == 42
    assert tree.dummy[background]
    assert tree.dominance[background] == 0.0
    assert tree.boxes[background].tolist() == [0, 0, 10, 6]
