"""Detection recall against hand-computed cases and a slow second writing of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from claid_ext.evaluation import best_overlaps, recall
from claid_ext.evaluation.recall import THRESHOLDS
from hypothesis import given
from hypothesis import strategies as st

ious = st.integers(0, 6).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(0, 20).map(lambda v: v / 20), min_size=n, max_size=n), max_size=5
    ).map(lambda rows: np.array(rows, dtype=float).reshape(len(rows), n))
)
image = ious.flatmap(
    lambda table: st.tuples(
        st.just(table),
        st.lists(st.booleans(), min_size=table.shape[1], max_size=table.shape[1]),
        st.lists(
            st.sampled_from([0.01, 0.02, 0.3]), min_size=table.shape[1], max_size=table.shape[1]
        ),
    )
)


@given(st.lists(image, max_size=4), st.none() | st.integers(1, 4))
def test_recall_is_the_slow_one(images: list, budget: int | None) -> None:
    found = {threshold: [0, 0] for threshold in THRESHOLDS}
    objects = [0, 0]
    for table, crowd, area in images:
        for column in range(table.shape[1]):
            if crowd[column]:
                continue
            objects[0] += 1
            objects[1] += area[column] > 0.02
            for threshold in THRESHOLDS:
                if any(value >= threshold for value in table[:budget, column]):
                    found[threshold][0] += 1
                    found[threshold][1] += area[column] > 0.02
    curve = recall(images, budget)
    assert (curve.objects, curve.large_objects) == tuple(objects)
    for place, threshold in enumerate(THRESHOLDS):
        for got, count, of in ((curve.all, 0, objects[0]), (curve.large, 1, objects[1])):
            if of:
                assert got[place] == pytest.approx(found[threshold][count] / of)
            else:
                assert math.isnan(got[place])
    assert np.all(np.diff(curve.all[~np.isnan(curve.all)]) <= 0)


def test_by_hand() -> None:
    table = np.array([[0.6, 0.0, 0.9], [0.7, 0.4, 0.0]])
    curve = recall([(table, [False, False, True], [0.1, 0.01, 0.5])], thresholds=[0.5, 0.65])
    assert curve.all.tolist() == [0.5, 0.5]
    assert curve.large.tolist() == [1.0, 1.0]
    assert (curve.objects, curve.large_objects, curve.regions, curve.images) == (2, 1, 2.0, 1)
    assert best_overlaps(table, budget=1).tolist() == [0.6, 0.0, 0.9]
    assert best_overlaps(np.zeros((0, 2))).tolist() == [0.0, 0.0]


def test_thresholds_are_exact() -> None:
    assert THRESHOLDS.tolist() == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def test_nothing_to_find() -> None:
    curve = recall([])
    assert np.isnan(curve.all).all()
    assert math.isnan(curve.regions)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="image 0: wanted ious"):
        recall([(np.zeros((1, 2)), [False], [0.1])])
    with pytest.raises(ValueError, match="budget"):
        best_overlaps(np.zeros((1, 2)), 0)
    with pytest.raises(ValueError, match="ious: wanted shape"):
        best_overlaps(np.zeros(3))
