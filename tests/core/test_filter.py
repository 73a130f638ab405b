"""Levels that first look at pairs in int8 give the reference's tree, however rows are made.

The filter is used from 512 patches of 128 dimensions on, so all images here have at least as many.
What it decides is tested pair by pair in tests/cpp/test_filter.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from claid_ext import reference
from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Features = NDArray[np.float32]


def _directions(rng: np.random.Generator, rows: int, channels: int) -> NDArray[np.float64]:
    made = rng.standard_normal((rows, channels))
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def _around(rng: np.random.Generator, rows: int, channels: int, cosine: float) -> Features:
    """All pairs' cosines are about `cosine`, which is at least 0: undecided where it is tau."""
    common = _directions(rng, 1, channels)
    own = _directions(rng, rows, channels)
    own -= own @ common.T * common
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    return (np.sqrt(cosine) * common + np.sqrt(1 - cosine) * own).astype(np.float32)


def _massive(rng: np.random.Generator, rows: int, channels: int, cosine: float) -> Features:
    """A few dimensions hold most of every row."""
    made = _around(rng, rows, channels, cosine)
    made[:, rng.choice(channels, 3, replace=False)] *= np.float32(10.0 ** rng.uniform(1, 5))
    return made


def _alike(rng: np.random.Generator, rows: int, channels: int, cosine: float) -> Features:
    """Few different rows: at the cosine to the first one, to float32's last bits."""
    few = _around(rng, 4, channels, 0.0).astype(np.float64)
    few[1:] -= few[1:] @ few[0][:, None] * few[0]
    few[1:] /= np.linalg.norm(few[1:], axis=1, keepdims=True)
    few[1:] = cosine * few[0] + np.sqrt(1 - cosine**2) * few[1:]
    return few[rng.integers(0, 4, rows)].astype(np.float32)


def _mixed(rng: np.random.Generator, rows: int, channels: int, cosine: float) -> Features:
    """Stretches that the filter decides, and stretches that it cannot."""
    made = _around(rng, rows, channels, cosine)
    start, stop = sorted(rng.integers(0, rows + 1, 2).tolist())
    made[start:stop] = _directions(rng, stop - start, channels)
    return made


def _zero_rows(rng: np.random.Generator, rows: int, channels: int, cosine: float) -> Features:
    made = _around(rng, rows, channels, cosine)
    made[rng.random(rows) < 0.3] = 0
    return made


def _one_dimension(rng: np.random.Generator, rows: int, channels: int, cosine: float) -> Features:
    """Rows of one dimension each, or of two at the cosine to the first one."""
    made = np.zeros((rows, channels), np.float32)
    made[:, 0] = np.where(rng.random(rows) < 0.5, 1.0, cosine)
    other = rng.integers(1, channels, rows)
    made[np.arange(rows), other] = np.sqrt(1 - made[:, 0] ** 2)
    return made


KINDS = {
    "around": _around,
    "massive": _massive,
    "alike": _alike,
    "mixed": _mixed,
    "zero rows": _zero_rows,
    "one dimension": _one_dimension,
}


@settings(max_examples=60)
@example("around", 1, 24, 30, 384, 0.2, 0.0, "seeds")
@example("around", 2, 24, 30, 384, 0.4, -0.004, "seeds")
@example("alike", 3, 23, 23, 130, 0.2, 0.0, "random")
@example("alike", 4, 23, 23, 130, 1.0, 0.0, "seeds")
@example("massive", 5, 24, 30, 384, 0.3, 0.0, "seeds")
@example("mixed", 6, 24, 30, 256, 0.2, 0.0, "seeds")
@example("one dimension", 7, 16, 32, 128, 0.2, 0.0, "seeds")
@example("zero rows", 8, 23, 29, 200, 0.0, 0.0, "seeds")
@given(
    st.sampled_from(sorted(KINDS)),
    st.integers(0, 2**32 - 1),
    st.integers(16, 26),
    st.integers(32, 40),
    st.integers(128, 520),
    st.one_of(st.sampled_from([0.0, 0.2, 0.4, 1.0]), st.floats(0, 1)),
    st.one_of(st.just(0.0), st.floats(-0.02, 0.02)),
    st.sampled_from(["seeds", "random"]),
)
def test_any_rows(  # noqa: PLR0917
    backends: dict[str, Callable[..., Any]],
    kind: str,
    seed: int,
    height: int,
    width: int,
    channels: int,
    cosine: float,
    aside: float,
    init: str,
) -> None:
    """The threshold lies at the cosine that the rows are made for, or a little aside."""
    X = KINDS[kind](np.random.default_rng(seed), height * width, channels, cosine)
    tau = float(np.clip(cosine + aside, -1, 1))
    options = {"tau": tau, "init": init, "max_passes": 3, "min_patches": 4}
    wanted = reference.detect(X, (height, width), **options)
    for name, detect in backends.items():
        for threads in (1, 3):
            note(f"{name}, {threads} threads")
            assert detect(X, (height, width), threads=threads, **options) == wanted


@pytest.mark.parametrize("tau", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_ends_of_tau(detect: Callable[..., Any], kind: str, tau: float) -> None:
    X = KINDS[kind](np.random.default_rng(5), 20 * 27, 192, 0.3)
    options = {"tau": tau, "max_passes": 3}
    assert detect(X, (20, 27), **options) == reference.detect(X, (20, 27), **options)


@pytest.mark.parametrize("channels", [16_384, 16_385])
def test_most_dimensions(detect: Callable[..., Any], channels: int) -> None:
    """The filter's sums are bounded for so many dimensions; beyond, all is int16."""
    X = _around(np.random.default_rng(2), 16 * 32, channels, 0.2)
    options = {"max_passes": 2}
    assert detect(X, (16, 32), **options) == reference.detect(X, (16, 32), **options)
