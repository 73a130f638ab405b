"""Made scenes whose objects are known, for the peers and the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small eigenproblems on a busy machine: more threads only wait for each other."""
    pytest.importorskip("scipy")
    pytest.importorskip("threadpoolctl")
    from claid_ext.benchmarks.machine import one_thread

    with one_thread():
        yield


@dataclass(frozen=True)
class Planted:
    """Features with rectangular objects in them.

    features: float32 (H * W, D). objects: bool (n, H, W), disjoint, most prominent first.
    """

    features: np.ndarray
    grid: tuple[int, int]
    objects: np.ndarray


def plant(
    grid: tuple[int, int], boxes: list[tuple[int, int, int, int]], seed: int = 0, noise: float = 0.3
) -> Planted:
    """Rectangles [x0, y0, x1, y1) of one direction each, on a ground of another."""
    rng = np.random.default_rng(seed)
    dim = 48
    directions = np.linalg.qr(rng.standard_normal((dim, len(boxes) + 1)))[0].T
    scene = np.broadcast_to(directions[-1], (*grid, dim)).copy()
    objects = np.zeros((len(boxes), *grid), bool)
    for mask, (x0, y0, x1, y1), direction in zip(objects, boxes, directions, strict=False):
        mask[y0:y1, x0:x1] = True
        scene[mask] = 1.5 * direction
    scene += noise / np.sqrt(dim) * rng.standard_normal(scene.shape)
    return Planted(scene.reshape(-1, dim).astype(np.float32), grid, objects)


@pytest.fixture(scope="session")
def one_object() -> Planted:
    """One object of 6x7 patches inside a grid of 16x20."""
    return plant((16, 20), [(5, 4, 12, 10)])


@pytest.fixture(scope="session")
def three_objects() -> Planted:
    """Three objects apart from each other inside a grid of 18x24."""
    return plant((18, 24), [(2, 2, 10, 9), (13, 3, 20, 8), (6, 11, 14, 16)])
