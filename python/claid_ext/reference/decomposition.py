"""The hierarchical decomposition in plain NumPy: what every faster backend must equal bit for bit.

Read top to bottom it follows section III of the paper. Features are first rounded to integers of
16 bits; from there on every sum is one of integers, hence exact, hence independent of the order of
additions. float64 matrix products are used for these sums: integers, and every partial sum in
whatever order, stay below 2^53, where float64 is exact, fused multiply-adds or not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claid_ext._arguments import (
    Options,
    check_device,
    check_finite,
    check_images,
    check_options,
    check_threads,
)
from claid_ext.reference.visiting import random_start, visiting_order
from claid_ext.tree import RegionTree

__all__ = [
    "affinity",
    "bisect",
    "components",
    "connectivity",
    "decompose",
    "detect",
    "dominance",
    "energy",
    "high_energy",
    "k_sums",
    "lane_sum",
    "norms",
    "objective",
    "q15_rows",
    "seed_start",
    "seeds",
]

_LANES = 16
_Q15_ONE = 32767  # the length that q15_rows gives every row
_BLOCK = 512  # rows of the affinity made at a time
_NEIGHBOURS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]

Indices = NDArray[np.int64]
Rows = NDArray[np.float64]
Bisection = Callable[[Rows, NDArray[np.bool_], Indices, Options], tuple[NDArray[np.int64], int]]


def lane_sum(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum float64 terms (N, D) along each row in the one order that all backends keep: (N,).

    Lane j of 16 adds the terms j, j + 16, j + 32, ... in turn; then the lanes are folded in halves.
    Rows are filled up with zeros, which add nothing: no term here is negative, so no sum is -0.
    """
    rows, columns = terms.shape
    padded = np.zeros((rows, -(-columns // _LANES) * _LANES))
    padded[:, :columns] = terms
    lanes = np.zeros((rows, _LANES))
    for first in range(0, columns, _LANES):
        lanes += padded[:, first : first + _LANES]
    for half in (8, 4, 2, 1):
        lanes[:, :half] += lanes[:, half : 2 * half]
    return lanes[:, 0]


def norms(X: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the length of each row of features X (N, D), float64 (N,)."""
    wide = X.astype(np.float64)
    length: NDArray[np.float64] = np.sqrt(lane_sum(wide * wide))
    return length


def q15_rows(X: NDArray[np.float32]) -> NDArray[np.int16]:
    """Scale each row of X (N, D) to length 32767 and round it to integers: int16 (N, D).

    A row of zeros stays so: it is similar to nothing.
    """
    length = norms(X)
    scale = np.divide(_Q15_ONE, length, out=np.zeros_like(length), where=length > 0)
    rounded: NDArray[np.int16] = np.rint(X * scale[:, None]).astype(np.int16)
    return rounded


def energy(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sum of absolute values of each row of X (N, D): float32 (N,); III-D."""
    with np.errstate(over="ignore"):  # rows near float32's end have infinite energy
        return lane_sum(np.abs(X.astype(np.float64))).astype(np.float32)


def high_energy(energies: NDArray[np.float32], top: float) -> NDArray[np.bool_]:
    """Return H of Eq. 10: the share `top` of patches with the most energy, ties in; bool (N,)."""
    m = max(1, math.floor(top * len(energies) + 0.5))
    high: NDArray[np.bool_] = energies >= np.sort(energies)[-m]
    return high


def affinity(q: Rows, tau: float) -> NDArray[np.bool_]:
    """Return A of Eq. 5: which two patches have a cosine similarity above tau; bool (N, N).

    q are the Q15 rows as float64 (N, D). No patch is linked to itself.
    """
    threshold = math.floor(tau * float(_Q15_ONE**2))
    A = np.empty((len(q), len(q)), bool)
    for first in range(0, len(q), _BLOCK):
        # Exact: by Cauchy-Schwarz every partial sum is below 2^31.
        A[first : first + _BLOCK] = q[first : first + _BLOCK] @ q.T > threshold
    np.fill_diagonal(A, False)
    return A


def seeds(q: Rows, A: NDArray[np.bool_], S: Indices) -> tuple[int, int]:
    """Return s+ and s-, the patches of S with the most and the fewest links inside S (Eq. 6, 7).

    Ties go to the lowest patch. If all patches have as many links, s- is the one least similar
    to s+.
    """
    degree = A[np.ix_(S, S)].sum(axis=1)
    plus, minus = S[np.argmax(degree)], S[np.argmin(degree)]
    if plus == minus:
        others = np.setdiff1d(S, plus)
        minus = others[np.argmin(q[others] @ q[plus])]
    return int(plus), int(minus)


def seed_start(
    q: Rows, A: NDArray[np.bool_], S: Indices, released: bool = False
) -> NDArray[np.int64]:
    """Return the first cluster, 0 or 1, of each patch of S: 1 with s+, 0 with s- (III-B).

    A patch goes to the seed that it is more similar to. `released`: to s+ iff it is linked to s+
    and not to s-, as the authors' code has it.
    """
    plus, minus = seeds(q, A, S)
    by_links = A[S, plus] & ~A[S, minus]
    by_similarity = q[S] @ q[plus] > q[S] @ q[minus]
    cluster: NDArray[np.int64] = (by_links if released else by_similarity).astype(np.int64)
    cluster[np.searchsorted(S, [plus, minus])] = 1, 0
    return cluster


def objective(q: Rows, S: Indices, cluster: NDArray[np.int64]) -> int:
    """Return what k-sums lowers (Eq. 1): the squared distances of all ordered pairs, summed."""
    total = 0
    for c in (0, 1):
        members = q[S[cluster == c]]
        D = members.sum(axis=0)
        total += 2 * (len(members) * int((members * members).sum()) - int(D @ D))
    return total


def k_sums(
    q: Rows,
    S: Indices,
    cluster: NDArray[np.int64],
    *,
    seed: int = 0,
    max_passes: int = 500,
    released: bool = False,
) -> tuple[NDArray[np.int64], int]:
    """Move patches of S between two clusters while Eq. 1 falls (III-A).

    q are all Q15 rows (float64), `cluster` the start (int64 (k,), 0 or 1, neither empty).
    Returns the final clusters and how many moves it took. `released`: a move must gain more than
    the patch's own squared length, as in the authors' code, instead of more than 0.
    """
    q = q[S]
    f = (q * q).sum(axis=1).tolist()
    cluster = cluster.copy()
    # Of each cluster the number of patches, the sum of their rows, and of their squared lengths.
    N = [int((cluster == c).sum()) for c in (0, 1)]
    D = [q[cluster == c].sum(axis=0) for c in (0, 1)]
    F = [sum(f[i] for i in np.flatnonzero(cluster == c)) for c in (0, 1)]
    moves = 0
    for sweep in range(max_passes):
        moves_before = moves
        for i in visiting_order(S, seed, sweep).tolist():
            here = int(cluster[i])
            there = 1 - here
            if N[here] == 1:
                continue
            # Eq. 3: sums of squared distances from patch i to a cluster; at most 2^49 here.
            own = N[here] * f[i] - 2 * float(q[i] @ D[here]) + F[here]
            other = N[there] * f[i] - 2 * float(q[i] @ D[there]) + F[there]
            gain = own - other  # Eq. 4
            if gain > (f[i] if released else 0):
                for c, sign in ((here, -1), (there, 1)):
                    N[c] += sign
                    D[c] += sign * q[i]
                    F[c] += sign * f[i]
                cluster[i] = there
                moves += 1
        if moves == moves_before:
            break
    return cluster, moves


def components(patches: Indices, grid: tuple[int, int]) -> list[Indices]:
    """Split patches into their 8-connected components on the grid, by lowest patch, each ascending.

    Algorithm 1, line 10 of the paper.
    """
    height, width = grid
    left = set(patches.tolist())
    found = []
    for first in patches.tolist():
        if first not in left:
            continue
        left.remove(first)
        component = [first]
        for patch in component:  # grows while it is walked
            row, column = divmod(patch, width)
            for dy, dx in _NEIGHBOURS:
                y, x = row + dy, column + dx
                near = y * width + x
                if 0 <= y < height and 0 <= x < width and near in left:
                    left.remove(near)
                    component.append(near)
        found.append(np.sort(np.array(component, np.int64)))
    return found


def connectivity(A: NDArray[np.bool_], region: Indices, released: bool = False) -> float:
    """Return the share of a region's pairs that are linked (Eq. 8, 9).

    `released`: every patch counts as linked to itself, so that it can exceed 1.
    """
    k = len(region)
    ends = int(A[np.ix_(region, region)].sum())  # 2 E
    return (ends + k if released else ends) / (k * (k - 1))


def dominance(high: NDArray[np.bool_], region: Indices) -> float:
    """Return the share of a region's patches that are of high energy (Eq. 10)."""
    return int(high[region].sum()) / len(region)


def bisect(
    q: Rows, A: NDArray[np.bool_], S: Indices, options: Options
) -> tuple[NDArray[np.int64], int]:
    """Cut a node S in two (III-A, III-B): the cluster of each patch, and the number of moves."""
    if options.random_start:
        start = random_start(S, options.seed)
    else:
        start = seed_start(q, A, S, options.released)
    return k_sums(
        q,
        S,
        start,
        seed=options.seed,
        max_passes=options.max_passes,
        released=options.released,
    )


class _Region(NamedTuple):
    parent: int
    level: int
    patches: Indices
    connectivity: float
    dominance: float


def decompose(
    X: NDArray[np.float32], grid: tuple[int, int], options: Options, bisect: Bisection = bisect
) -> RegionTree:
    """Cut an image's features X, float32 (N, D), into the tree of its regions (Algorithm 1).

    `bisect` cuts a node; the peer CLAID (NCut) puts a normalised cut here. It must leave neither
    cluster empty.
    """
    q = q15_rows(X).astype(np.float64)
    high = high_energy(energy(X), options.energy_top)
    A = affinity(q, options.tau)
    regions: list[_Region] = []
    cuts = moves = 0
    image = np.arange(len(X))
    waiting = deque([(-1, 0, image)] if len(image) > 1 else [])  # (region's number, level, patches)
    while waiting:
        parent, level, S = waiting.popleft()
        cluster, moved = bisect(q, A, S, options)
        cuts += 1
        moves += moved
        for c in (1, 0):
            for patches in components(S[cluster == c], grid):
                if len(patches) < options.min_patches:
                    continue
                tightness = connectivity(A, patches, options.released)
                if tightness < options.connectivity:
                    waiting.append((len(regions), level + 1, patches))
                share = dominance(high, patches)
                regions.append(_Region(parent, level + 1, patches, tightness, share))
    return _tree(regions, grid, options, cuts, moves)


def _tree(
    regions: list[_Region], grid: tuple[int, int], options: Options, cuts: int, moves: int
) -> RegionTree:
    boxes = np.empty((len(regions), 4), np.int32)
    for box, region in zip(boxes, regions, strict=True):
        rows, columns = np.divmod(region.patches, grid[1])
        box[:] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    sizes = [len(region.patches) for region in regions]
    members = np.concatenate([region.patches for region in regions] or [np.empty(0, np.int64)])
    return RegionTree(
        grid=grid,
        parent=np.array([region.parent for region in regions], np.int32),
        level=np.array([region.level for region in regions], np.int32),
        size=np.array(sizes, np.int32),
        connectivity=np.array([region.connectivity for region in regions], np.float64),
        dominance=np.array([region.dominance for region in regions], np.float64),
        dummy=np.array([region.dominance <= options.dominance for region in regions], bool),
        boxes=boxes,
        cuts=cuts,
        moves=moves,
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        members=members.astype(np.uint16),
    )


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
    """Do what `claid_ext.detect` does, with the same arguments and the same answer, slowly.

    `device` and `threads` are checked and then make no difference.
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
    check_device(device)
    check_threads(threads)
    images = check_images(features, grid)
    check_finite(images)
    trees = [decompose(X, g, options) for X, g in zip(images.features, images.grids, strict=True)]
    return trees if images.batch else trees[0]
