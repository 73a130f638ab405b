"""Every backend gives the reference's tree, in every field, bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from claid_ext import RegionTree, reference
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

KINDS = (
    "blobs",
    "constant",
    "zero rows",
    "repeated rows",
    "two values",
    "collinear",
    "denormal",
    "huge",
    "all magnitudes",
    "near tau",
    "halves",
    "orders",
    "noise",
)
THREADS = (1, 2, 5)

# Thresholds in and at the ends of their ranges.
unit = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
options = st.fixed_dictionaries(
    {},
    optional={
        "tau": st.one_of(st.sampled_from([-1.0, 0.0, 0.2, 1.0]), st.floats(-1, 1)),
        "connectivity": unit,
        "energy_top": unit,
        "dominance": unit,
        "min_patches": st.integers(2, 20),
        "init": st.sampled_from(["seeds", "random"]),
        "seed": st.one_of(st.sampled_from([0, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1)),
        "max_passes": st.one_of(st.integers(1, 3), st.just(500)),
        "preset": st.sampled_from([None, "released"]),
    },
)
# Small grids are where the corners are; large ones are tried, but less often.
side = st.one_of(st.integers(1, 12), st.integers(1, 30), st.integers(1, 60))
channels = st.one_of(st.integers(1, 40), st.integers(1, 1000))
seeds = st.integers(0, 2**32 - 1)


def assert_same(found: RegionTree, wanted: RegionTree) -> None:
    """Compare field by field, so that a failure names the field."""
    for field in dataclasses.fields(RegionTree):
        got, want = getattr(found, field.name), getattr(wanted, field.name)
        if isinstance(want, np.ndarray):
            assert got.dtype == want.dtype, field.name
            np.testing.assert_array_equal(got, want, err_msg=field.name, strict=True)
        else:
            assert got == want, field.name
    assert found == wanted


@settings(max_examples=200)
@example("near tau", 1, 12, 12, 3, {})
@example("huge", 2, 9, 9, 1000, {"min_patches": 2})
@example("denormal", 3, 9, 9, 7, {"min_patches": 2})
@example("blobs", 4, 1, 1, 1, {})
@example("blobs", 5, 1, 60, 17, {"min_patches": 2, "connectivity": 1.0})
@example("blobs", 6, 60, 60, 65, {"min_patches": 2, "connectivity": 1.0})
@example("two values", 7, 20, 20, 1, {"min_patches": 2, "tau": -1.0})
@example("repeated rows", 8, 20, 20, 33, {"min_patches": 2, "preset": "released"})
@example("halves", 9, 9, 9, 64, {"min_patches": 2})
@example("orders", 10, 12, 12, 200, {"min_patches": 2, "connectivity": 1.0})
@given(st.sampled_from(KINDS), seeds, side, side, channels, options)
def test_any_input(  # noqa: PLR0917
    backends: dict[str, Callable[..., Any]],
    make_features: Callable[..., Any],
    kind: str,
    seed: int,
    height: int,
    width: int,
    channels: int,
    options: dict[str, Any],
) -> None:
    X = make_features(kind, seed, height, width, channels)
    wanted = reference.detect(X, (height, width), **options)
    for name, detect in backends.items():
        for threads in THREADS:
            note(f"{name}, {threads} threads")
            assert_same(detect(X, (height, width), threads=threads, **options), wanted)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), seeds, st.integers(1, 14), st.integers(1, 14), channels),
        max_size=6,
    ),
    options,
)
def test_any_ragged_batch(
    backends: dict[str, Callable[..., Any]],
    make_features: Callable[..., Any],
    images: list[tuple[str, int, int, int, int]],
    options: dict[str, Any],
) -> None:
    features = [make_features(*image) for image in images]
    grids = [(height, width) for _, _, height, width, _ in images]
    wanted = reference.detect(features, grids, **options)
    for name, detect in backends.items():
        for threads in THREADS:
            note(f"{name}, {threads} threads")
            found = detect(features, grids, threads=threads, **options)
            assert len(found) == len(wanted) == len(images)
            for tree, want in zip(found, wanted, strict=True):
                assert_same(tree, want)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_random_start_of_few_patches(detect: Callable[..., Any], k: int) -> None:
    """So few that a cluster is often empty at first; all alike, so that nothing moves after."""
    X = np.ones((k, 3), np.float32)
    for seed in range(40):
        options = {"init": "random", "seed": seed, "min_patches": 2, "connectivity": 0.0}
        assert_same(detect(X, (1, k), **options), reference.detect(X, (1, k), **options))


def test_a_batch_array_is_its_images(
    detect: Callable[..., Any], make_features: Callable[..., Any]
) -> None:
    stack = np.stack([make_features("blobs", seed, 10, 12, 24) for seed in range(5)])
    wanted = [reference.detect(X, (10, 12)) for X in stack]
    assert detect(stack, (10, 12)) == wanted
    assert detect(stack, [(10, 12)] * 5, threads=2) == wanted


BIG = [(45, 60, 768), (45, 100, 768)]
BIG_OPTIONS: list[dict[str, Any]] = [{}, {"init": "random", "seed": 7, "preset": "released"}]


@pytest.fixture(scope="session")
def big(make_features: Callable[..., Any]) -> list[tuple[Any, tuple[int, int], Any, RegionTree]]:
    cases = []
    for height, width, depth in BIG:
        X = make_features("blobs", 11, height, width, depth)
        for chosen in BIG_OPTIONS:
            tree = reference.detect(X, (height, width), **chosen)
            cases.append((X, (height, width), chosen, tree))
    return cases


@pytest.mark.parametrize("case", range(len(BIG) * len(BIG_OPTIONS)))
@pytest.mark.parametrize("threads", [1, 2])
def test_full_size(detect: Callable[..., Any], big: list[Any], case: int, threads: int) -> None:
    X, grid, chosen, wanted = big[case]
    assert len(wanted) > 20
    assert wanted.level.max() >= 3
    assert_same(detect(X, grid, threads=threads, **chosen), wanted)


def test_many_patches_all_alike(detect: Callable[..., Any]) -> None:
    """Sums of 12,000 largest squares, worked out by hand."""
    X = np.full((12_000, 1), -3, np.float32)
    tree = detect(X, (100, 120), connectivity=0.0)
    # All are linked to all, so the seeds are patches 0 and 1, and no move changes the objective.
    assert (tree.cuts, tree.moves) == (1, 0)
    assert tree.size.tolist() == [11_999]
    assert tree.connectivity.tolist() == [1.0]
    np.testing.assert_array_equal(tree.patches(0), np.arange(1, 12_000))


def test_kinds_are_all_tried(kinds: list[str]) -> None:
    assert set(kinds) == set(KINDS)
