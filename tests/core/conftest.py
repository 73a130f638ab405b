"""Made features, as real ones look and as they never should, and photos to search for boxes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from claid_ext.index.box_search import (
    BoxSearchOptions,
    CellMap,
    PhotoMap,
    QueryTemplates,
    box_search,
)
from claid_ext.reference import box_search as reference
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


def unit(values: Any) -> Any:
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return (values / np.where(length > 0, length, 1)).astype(np.float32)


def random_codebooks(rng: np.random.Generator) -> tuple[Any, Any]:
    """Cells decoded from these are of length 1: 16 subspaces of length 1/4."""
    return unit(rng.normal(size=(16, 256, 4))) / 4, unit(rng.normal(size=(16, 256, 4))) / 4


class BoxCase:
    """A photo with an object of alike cells, and a query for it."""

    def __init__(
        self,
        seed: int,
        height: int,
        width: int,
        *,
        kind: str = "codes",
        dims: tuple[int, int] = (64, 64),
        templates: int = 4,
        cells: int = 30,
        regions: int = 6,
        over: tuple[float, float] = (-3.0, -5.0),
    ) -> None:
        rng = np.random.default_rng(seed)
        self._wanted: dict[BoxSearchOptions, reference.Result] = {}
        self.codebooks = random_codebooks(rng) if kind == "codes" else None
        size = (max(width * 16 + over[0], 9.0), max(height * 16 + over[1], 9.0))
        shapes = (height, width), (math.ceil(size[1] / 32), math.ceil(size[0] / 32))
        box = np.sort(rng.uniform(0, 1, (2, 2)), axis=0).ravel()
        directions = [unit(rng.normal(size=d)) for d in dims]
        maps = []
        for layer, (shape, direction) in enumerate(zip(shapes, directions, strict=True)):
            cells_of = self._cells(rng, shape, dims[layer], kind)
            y0, y1 = int(box[1] * shape[0]), int(box[3] * shape[0]) + 1
            x0, x1 = int(box[0] * shape[1]), int(box[2] * shape[1]) + 1
            if kind == "codes":
                cells_of[y0:y1, x0:x1, :12] = cells_of[y0, x0, :12]
            elif kind != "zeros":
                mixed = unit(cells_of[y0:y1, x0:x1].astype(np.float32) * 0.5 + direction)
                cells_of[y0:y1, x0:x1] = mixed
            side = 16.0 * 2**layer
            maps.append(CellMap(cells_of, (side, side)))
        corners = np.sort(rng.uniform(0, 1, (regions, 2, 2)), axis=1) * (np.array(size) - 2)
        stored = corners.reshape(-1, 4).astype(np.float32)
        stored[:, 2:] += 1
        self.photo = PhotoMap(maps[0], maps[1], size, stored)
        seen = [
            reference.decode(m, None if self.codebooks is None else self.codebooks[i])
            for i, m in enumerate(maps)
        ]
        at = [(int(box[1] * s.shape[0]), int(box[0] * s.shape[1])) for s in seen]
        self.query = QueryTemplates(
            unit(seen[0][at[0]] + 0.1 * rng.normal(size=(templates, 9, dims[0]))),
            unit(seen[1][at[1]] + 0.1 * rng.normal(size=(templates, dims[1]))),
            np.array([70, 24, 48, 96, 192, 272], np.float32)[:templates],
            unit(seen[0][at[0]] + 0.3 * rng.normal(size=(cells, dims[0]))),
            aspect=float(np.exp(rng.uniform(-1, 1))),
        )

    @staticmethod
    def _cells(rng: np.random.Generator, shape: tuple[int, int], dims: int, kind: str) -> Any:
        if kind == "codes":
            return rng.integers(0, 256, (*shape, 16), dtype=np.uint8)
        if kind == "zeros":
            return np.zeros((*shape, dims), np.float32)
        if kind == "constant":
            return np.broadcast_to(unit(rng.normal(size=dims)), (*shape, dims)).copy()
        values = unit(rng.normal(size=(*shape, dims)))
        return values.astype(np.float16) if kind == "float16" else values

    def search(self, **changes: Any) -> Any:
        options = changes.pop("options", BoxSearchOptions())
        return box_search(
            [self.photo],
            self.query,
            codebooks=self.codebooks,
            options=options,
            return_boxes=True,
            threads=1,
            **changes,
        )[0]

    def wanted(self, options: BoxSearchOptions) -> reference.Result:
        """What the reference finds; made once for all levels."""
        if options not in self._wanted:
            self._wanted[options] = reference.box_search(
                self.photo, self.query, codebooks=self.codebooks, options=options
            )
        return self._wanted[options]


@cache
def _case(arguments: tuple[Any, ...], named: tuple[tuple[str, Any], ...]) -> BoxCase:
    return BoxCase(*arguments, **dict(named))


def box_case_of(*arguments: Any, **named: Any) -> BoxCase:
    """One `BoxCase` for the same arguments, whatever the level."""
    return _case(arguments, tuple(sorted(named.items())))


@pytest.fixture(scope="session")
def box_case() -> Callable[..., BoxCase]:
    """Make a photo and a query for the search for boxes, the same object for the same arguments."""
    return box_case_of
