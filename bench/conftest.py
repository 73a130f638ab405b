"""Inputs of the benchmarks, and one thread for every library while they run.

    pytest bench/                               # one table per size: every SIMD level, F @ F.T, ...
    pytest bench/ --benchmark-group-by=param:backend     # one per level, with the GPU's if any
    pytest bench/ --benchmark-disable           # each once, answers checked: a smoke test

Synthetic features; every benchmark asserts its answer. Save a run with --benchmark-json=FILE or
--benchmark-save=NAME and compare with bench/compare.py: nothing here fails on time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from claid_ext import RegionTree, reference
from claid_ext.benchmarks.machine import describe, one_thread
from claid_ext.benchmarks.synthetic import scene_features

sys.path.insert(0, str(Path(__file__).parent))  # the scripts here import each other

Shape = tuple[int, int, int]

SHAPES: dict[str, Shape] = {
    "25x36x384": (25, 36, 384),
    "45x60x768": (45, 60, 768),
    "45x100x768": (45, 100, 768),
}


@cache
def scene(shape: Shape, seed: int = 0) -> np.ndarray:
    """Synthetic features, float32 (H * W, D)."""
    return scene_features(shape[:2], shape[2], seed=seed)


@cache
def golden(shape: Shape, seed: int = 0) -> RegionTree:
    """The reference's tree of a scene, made once per run."""
    tree = reference.detect(scene(shape, seed), shape[:2])
    assert isinstance(tree, RegionTree)
    return tree


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(params=list(SHAPES.values()), ids=list(SHAPES))
def shape(request: pytest.FixtureRequest) -> Shape:
    """(H, W, D) of the synthetic features."""
    return request.param


@pytest.fixture
def features(shape: Shape) -> np.ndarray:
    """Synthetic features of that shape."""
    return scene(shape)


@pytest.fixture
def expected(shape: Shape) -> RegionTree:
    """What the reference makes of them."""
    return golden(shape)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict) -> None:
    """Save no name of the host, and what this project states of a machine."""
    machine_info.pop("node", None)
    machine_info["claid"] = describe()
