"""Made features: as real ones look, and as they never should."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Features = NDArray[np.float32]


def _blobs(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    """Patches of one object alike, and a share that all have: what a ViT's tokens look like."""
    objects = max(2, min(25, height * width // 40))
    y, x = np.mgrid[:height, :width]
    centres = rng.uniform(0, (height, width), (objects, 2))
    nearest = np.argmin([(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in centres], axis=0).ravel()
    directions = rng.normal(size=(objects, channels)) + 0.5 * rng.normal(size=channels)
    noise = 0.7 * rng.normal(size=(height * width, channels))
    strength = rng.uniform(0.5, 2.0, (objects, 1))
    return ((strength * directions)[nearest] + noise).astype(np.float32)


def _constant(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    return np.full((height * width, channels), rng.normal(), np.float32)


def _zero_rows(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    X = _blobs(rng, height, width, channels)
    X[rng.random(len(X)) < rng.random()] = 0
    return X


def _repeated_rows(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    few = rng.normal(size=(rng.integers(1, 6), channels)).astype(np.float32)
    return few[rng.integers(0, len(few), height * width)]


def _two_values(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    return rng.choice([-1.0, 1.0], (height * width, channels)).astype(np.float32)


def _collinear(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    along = rng.integers(-3, 4, (height * width, 1)).astype(np.float32)
    return along * rng.normal(size=(1, channels)).astype(np.float32)


def _denormal(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    steps = rng.integers(-9, 10, (height * width, channels))
    return (steps * np.float64(2.0**-149)).astype(np.float32)


def _huge(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    return (_blobs(rng, height, width, channels).clip(-9, 9) * np.float32(3e37)).astype(np.float32)


def _all_magnitudes(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    powers = 10.0 ** rng.uniform(-44, 38, (height * width, 1))
    return (powers * rng.uniform(-1, 1, (height * width, channels))).astype(np.float32)


def _near_tau(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    """Pairs whose cosine lies within rounding of 0.2, the default tau."""
    X = np.zeros((height * width, channels), np.float32)
    X[:, 0] = 1
    other = rng.integers(0, channels, height * width)
    cosine = np.float32(0.2) + rng.integers(-40, 41, height * width) * np.float32(2e-6)
    rows = np.flatnonzero(other > 0)
    X[rows, 0] = cosine[rows]
    X[rows, other[rows]] = np.sqrt(1 - cosine[rows] ** 2)
    return X


def _halves(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    """Rows 2 * 32767 long, whose ones become 1/2 before rounding: to even, all rows are equal."""
    if channels < 16:
        return _two_values(rng, height, width, channels)
    ones = channels // 4
    rest, squares = (2 * 32767) ** 2 - ones, []
    while rest:
        squares.append(math.isqrt(rest))
        rest -= squares[-1] ** 2
    few = np.zeros((4, channels), np.float32)
    few[:, : len(squares)] = squares
    for row in few:
        row[rng.choice(np.arange(len(squares), channels), ones, replace=False)] = 1
    return few[rng.integers(0, len(few), height * width)]


def _orders(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    """Rows of the same numbers in other columns, whose energy depends on the order of adding.

    2^53 + 2^29 lies between two float32; ones added to it one by one are lost, their sum is not.
    """
    few = np.zeros((16, channels), np.float32)
    for i, row in enumerate(few):
        # All in one of the 16 lanes, or a few numbers in any: the order in lanes, and of lanes.
        where = np.arange(rng.integers(16), channels, 16) if i % 2 else rng.permutation(channels)
        numbers = np.ones(len(where) if i % 2 else 4, np.float32)
        numbers[:2] = [2.0**53, 2.0**29][: len(numbers)]
        chosen = rng.permutation(where)[: len(numbers)]
        row[chosen] = numbers[: len(chosen)]
    return few[rng.integers(0, len(few), height * width)]


def _noise(rng: np.random.Generator, height: int, width: int, channels: int) -> Features:
    return rng.normal(size=(height * width, channels)).astype(np.float32)


KINDS: dict[str, Callable[[np.random.Generator, int, int, int], Features]] = {
    "blobs": _blobs,
    "constant": _constant,
    "zero rows": _zero_rows,
    "repeated rows": _repeated_rows,
    "two values": _two_values,
    "collinear": _collinear,
    "denormal": _denormal,
    "huge": _huge,
    "all magnitudes": _all_magnitudes,
    "near tau": _near_tau,
    "halves": _halves,
    "orders": _orders,
    "noise": _noise,
}


@pytest.fixture(scope="session")
def kinds() -> list[str]:
    return list(KINDS)


@pytest.fixture(scope="session")
def make_features() -> Callable[..., Features]:
    def make(kind: str, seed: int, height: int, width: int, channels: int) -> Features:
        return KINDS[kind](np.random.default_rng(seed), height, width, channels)

    return make
