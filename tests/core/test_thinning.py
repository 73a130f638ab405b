"""Which of many regions are kept, against a slow second writing of the rule."""

from __future__ import annotations

import numpy as np
import pytest
from claid_ext.overlap import box_iou
from claid_ext.regions.thinning import thin
from hypothesis import given
from hypothesis import strategies as st

boxes = st.lists(
    st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2).map(
        lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
    ),
    max_size=9,
)


def slowly(given_boxes, most):
    left = list(range(len(given_boxes)))
    while len(left) > most:
        pairs = [(i, j) for i in left for j in left if i < j]
        overlap = {(i, j): float(box_iou(given_boxes[i], given_boxes[j])[0, 0]) for i, j in pairs}
        one, other = max(pairs, key=lambda pair: (overlap[pair], -pair[0], -pair[1]))

        others = {k: sum(o for pair, o in overlap.items() if k in pair) for k in (one, other)}
        left.remove(one if others[one] > others[other] + 1e-9 else other)
    return left


@given(boxes, st.integers(1, 9))
def test_the_rule(some, most):
    some = np.array(some, float).reshape(-1, 4)
    kept = thin(some, most)
    assert len(kept) == min(len(some), most)
    assert (np.diff(kept) > 0).all()
    assert kept.tolist() == slowly(some, most)


def test_the_one_that_overlaps_the_others_more_goes():
    # The second and third overlap most; the third overlaps the fourth as well.
    row = np.array([[0, 0, 10, 10], [40, 0, 50, 10], [41, 0, 51, 10], [46, 0, 56, 10]])
    assert thin(row, 3).tolist() == [0, 1, 3]
    assert thin(row, 2).tolist() == [0, 1]
    assert thin(row[::-1], 3).tolist() == [0, 2, 3]


def test_equal_boxes_and_none():
    assert thin(np.tile([0, 0, 5, 5], (50, 1)), 36).tolist() == [0, *range(15, 50)]
    assert thin(np.zeros((0, 4)), 36).tolist() == []


def test_wrong_arguments():
    for most in (0, -1, True, 2.5):
        with pytest.raises(ValueError, match="most must be"):
            thin(np.zeros((3, 4)), most)
    with pytest.raises(ValueError, match="wanted shape"):
        thin(np.zeros((3, 5)), 2)
