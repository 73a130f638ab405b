"""Pseudorandom orders and starts that depend on a node alone, never on threads or batches."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["mix", "mix_all", "random_start", "visiting_order"]

_MASK64 = 2**64 - 1
_RANDOM_START = 2**32  # stands in for the sweep's number, which is always smaller

Indices = NDArray[np.int64]


def mix(x: int) -> int:
    """Return splitmix64's next output from state x, both in 0 to 2^64 - 1."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK64
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & _MASK64
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & _MASK64
    return x ^ x >> 31


def mix_all(seed: int, *values: int) -> int:
    """Return one 64-bit key of a seed and further numbers."""
    key = mix(seed)
    for value in values:
        key = mix(key ^ value)
    return key


def random_start(S: Indices, seed: int) -> NDArray[np.int64]:
    """Return a random first cluster, 0 or 1, of each patch of S, neither empty (k-sums' own)."""
    key = mix_all(seed, int(S[0]), len(S), _RANDOM_START)
    cluster = np.array([mix(key ^ p) & 1 for p in S.tolist()], np.int64)
    if cluster.all() or not cluster.any():
        cluster[0] = 1 - cluster[0]
    return cluster


def visiting_order(S: Indices, seed: int, sweep: int) -> Indices:
    """Return the order in which a sweep visits the positions of S: a permutation, int64 (k,)."""
    k = len(S)
    key = mix_all(seed, int(S[0]), k, sweep)
    a = 1 + (key & 0xFFFFFFFF) % k
    while math.gcd(a, k) != 1:
        a = a % k + 1
    b = (key >> 32) % k
    order: Indices = (a * np.arange(k, dtype=np.int64) + b) % k
    return order
