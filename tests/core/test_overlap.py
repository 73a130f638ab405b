"""Box and mask overlap against pixel counting."""

from __future__ import annotations

import numpy as np
import pytest
from claid_ext.overlap import box_area, box_iou, mask_iou, paired_iou
from hypothesis import given
from hypothesis import strategies as st

SIDE = 12

box = st.tuples(*[st.integers(0, SIDE)] * 4).map(
    lambda v: [min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3])]
)
boxes = st.lists(box, max_size=5)


def painted(given_boxes: list[list[int]]) -> np.ndarray:
    masks = np.zeros((len(given_boxes), SIDE, SIDE), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, given_boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


@given(boxes, boxes)
def test_box_iou_counts_pixels(first: list[list[int]], second: list[list[int]]) -> None:
    expected = np.zeros((len(first), len(second)))
    for i, a in enumerate(painted(first)):
        for j, b in enumerate(painted(second)):
            if (a | b).any():
                expected[i, j] = (a & b).sum() / (a | b).sum()
    np.testing.assert_array_equal(box_iou(first, second), expected)
    np.testing.assert_array_equal(mask_iou(painted(first), painted(second)), expected)


def test_box_iou_by_hand() -> None:
    assert box_iou([[0, 0, 2, 2]], [[1, 1, 3, 3]]).tolist() == [[1 / 7]]
    assert box_iou([0, 0, 2, 2], [0, 0, 2, 2]).tolist() == [[1.0]]
    assert box_iou([[0, 0, 1, 1]], [[1, 0, 2, 1]]).tolist() == [[0.0]]
    assert box_iou([[3, 3, 3, 3]], [[3, 3, 3, 3]]).tolist() == [[0.0]]
    assert box_iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)
    assert box_area([[1, 2, 4, 6]]).tolist() == [12.0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([[0, 0, 1]], r"first: wanted shape \(n, 4\), got \(1, 3\)"),
        ([[0, 0, np.nan, 1]], "first: box 0 is not finite"),
        ([[0, 0, 1, 1], [5, 0, 2, 1]], r"first: box 1 is \[5.0, 0.0, 2.0, 1.0\]"),
    ],
)
def test_bad_boxes(bad: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        box_iou(bad, [[0, 0, 1, 1]])


def test_masks_on_different_rasters() -> None:
    with pytest.raises(ValueError, match="masks: wanted"):
        mask_iou(np.ones((1, 2, 3)), np.ones((1, 3, 2)))


def test_paired_iou_is_the_diagonal_of_all_pairs() -> None:
    rng = np.random.default_rng(3)
    first, second = (
        np.concatenate(
            [low := rng.uniform(0, 9, (50, 2)), low + rng.uniform(0, 6, (50, 2))], axis=1
        )
        for _ in range(2)
    )
    second[0] = first[0]
    first[1] = second[1] = [3, 3, 3, 3]
    made = paired_iou(first, second)
    np.testing.assert_allclose(made, np.diag(box_iou(first, second)))
    assert (made[0], made[1]) == (1, 0)
    with pytest.raises(ValueError, match="second: wanted 50 boxes"):
        paired_iou(first, second[:-1])
