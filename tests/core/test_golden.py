"""Trees on record: what `detect` answers today it must answer in every later release.

The inputs are small integers drawn by splitmix64 in integer arithmetic alone, so they are the same
on every machine. `python tests/core/test_golden.py` writes the record anew, from the reference;
do so only when the contract itself changes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claid_ext import RegionTree, reference

GOLDEN = Path(__file__).with_name("golden")

CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "released": {"preset": "released"},
    "random": {"init": "random", "seed": 2**64 - 1},
    "fine": {"tau": 0.5, "min_patches": 3, "connectivity": 1.0, "seed": 12345},
    "one_pass": {"max_passes": 1, "energy_top": 0.1, "dominance": 0.5},
}
HEIGHT, WIDTH, CHANNELS = 24, 31, 37


def integers(low: int, high: int, count: int, stream: int) -> np.ndarray:
    """Integers from low to high - 1, from one stream of splitmix64."""
    drawn = [reference.mix(stream * 2**32 + i) % (high - low) for i in range(count)]
    return np.array(drawn, np.int64) + low


def picture() -> np.ndarray:
    """Nine rectangles over one another, each of its own direction, and noise."""
    rows = integers(0, HEIGHT - 5, 9, 1)
    columns = integers(0, WIDTH - 5, 9, 2)
    sizes = integers(4, 14, 18, 3).reshape(9, 2)
    directions = integers(-40, 41, 10 * CHANNELS, 4).reshape(10, CHANNELS)
    label = np.zeros((HEIGHT, WIDTH), np.int64)
    for i, (row, column, (height, width)) in enumerate(zip(rows, columns, sizes, strict=True)):
        label[row : row + height, column : column + width] = i + 1
    noise = integers(-25, 26, HEIGHT * WIDTH * CHANNELS, 5).reshape(-1, CHANNELS)
    return (directions[label.ravel()] + noise).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_golden(detect: Callable[..., Any], case: str) -> None:
    wanted = RegionTree.load(GOLDEN / f"{case}.npz")
    assert len(wanted) > 5
    assert detect(picture(), (HEIGHT, WIDTH), **CASES[case]) == wanted


@pytest.mark.parametrize("case", CASES)
def test_golden_reference(case: str) -> None:
    wanted = RegionTree.load(GOLDEN / f"{case}.npz")
    assert reference.detect(picture(), (HEIGHT, WIDTH), **CASES[case]) == wanted


def test_options_make_a_difference() -> None:
    trees = [RegionTree.load(GOLDEN / f"{case}.npz") for case in CASES]
    for i, tree in enumerate(trees):
        assert all(tree != other for other in trees[i + 1 :])


def write() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for case, options in CASES.items():
        tree = reference.detect(picture(), (HEIGHT, WIDTH), **options)
        assert isinstance(tree, RegionTree)
        tree.save(GOLDEN / f"{case}.npz")
        print(case, tree)


if __name__ == "__main__":
    write()
