"""The reference of the search for boxes against the definition, in the plainest form."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
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

DEFAULT = BoxSearchOptions()


def test_sums_are_areas_times_cells() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(4, 5, 3))
    integral = reference.Integral(cells, (10.0, 8.0), (50.0, 32.0))
    for _ in range(20):
        x0, x1 = np.sort(rng.uniform(0, 50, 2))
        y0, y1 = np.sort(rng.uniform(0, 32, 2))
        total = np.zeros(3)
        for row, column in itertools.product(range(4), range(5)):
            width = max(0.0, min(x1 / 10, column + 1) - max(x0 / 10, column))
            height = max(0.0, min(y1 / 8, row + 1) - max(y0 / 8, row))
            total += width * height * cells[row, column]
        sums, areas = integral.over(np.array([[x0, y0, x1, y1]]))
        np.testing.assert_allclose(sums[0], total, atol=1e-12)
        assert areas[0] == pytest.approx((x1 - x0) / 10 * (y1 - y0) / 8)


def test_decode_puts_dimension_d_in_subspace_d_mod_16() -> None:
    rng = np.random.default_rng(0)
    codebook = rng.normal(size=(16, 256, 4)).astype(np.float32)
    codes = rng.integers(0, 256, (2, 3, 16), dtype=np.uint8)
    cells = reference.decode(CellMap(codes, (1.0, 1.0)), codebook)
    for row, column, d in itertools.product(range(2), range(3), range(64)):
        assert cells[row, column, d] == codebook[d % 16, codes[row, column, d % 16], d // 16]


def test_core_and_contrast_by_hand() -> None:
    """Two cells of e16, side by side, one of them the query's: the boxes of one and of both."""
    cells = np.zeros((1, 2, 2), np.float32)
    cells[0, 0, 0] = cells[0, 1, 1] = 1
    photo = PhotoMap(
        CellMap(cells, (16.0, 16.0)),
        CellMap(np.array([[[0.6, 0.8]]], np.float32), (32.0, 32.0)),
        (32.0, 16.0),
        np.array([[0, 0, 16, 16], [0, 0, 32, 16]], np.float32),
    )
    parts = np.zeros((2, 9, 2), np.float32)
    parts[0, :, 0] = 1  # native: like the left cell
    parts[1, :, 1] = 1  # S: like the right cell
    means = np.array([[1, 0], [0, 1]], np.float32)
    query = QueryTemplates(parts, means, np.array([9, 16], np.float32), parts[0, :1], 1.0)
    found = box_search([photo], query, return_boxes=True)[0]
    wanted = reference.box_search(photo, query, options=DEFAULT)
    # p: 1 and 0; w: 0.6 and 0.8. o = (1 - 0) / 2, and no box has more. IoU 1.
    left = 0.5 * (1 + 0) + 0.25 * (0.6 + 0.8) + 0.25 + 0.1
    # A column of parts is like native, one like S, and the middle one half of each; o is 0.
    half = 0.5**0.5
    whole = 0.5 * 2 * (3 * 1 + 3 * half) / 9 + 0.25 * (0.6 + 0.8) + 0.1
    for scores in (found.scores, wanted.scores):
        np.testing.assert_allclose(
            scores[wanted.coarse - 2 : wanted.coarse], [left, whole], atol=1e-5
        )
    assert found.coarse == wanted.coarse


def test_the_grid_is_centred_and_as_wide_as_said(box_case: Any) -> None:
    photo = box_case(0, 20, 30, over=(0.0, 0.0)).photo
    boxes = reference.coarse_grid(photo, 1.0, replace(DEFAULT, aspects=(1.0, 1.0, 1.0)))
    sides = np.unique(np.round(boxes[:, 2] - boxes[:, 0], 6))
    wanted = [22.4 * math.sqrt(2) ** n for n in range(9)]
    np.testing.assert_allclose(sides[: len(wanted)], wanted[: len(sides)], rtol=1e-6)
    first = boxes[np.isclose(boxes[:, 2] - boxes[:, 0], 22.4)]
    starts = np.unique(np.round(first[:, 0], 6))
    np.testing.assert_allclose(np.diff(starts), 22.4 / 1.5)
    assert starts[0] == pytest.approx(480 - (starts[-1] + 22.4))
    assert starts[0] < 22.4 / 1.5 / 2 + 1e-6


def test_refined_boxes(box_case: Any) -> None:
    photo = box_case(0, 20, 30, over=(0.0, 0.0)).photo
    seed = np.array([100.0, 100.0, 140.0, 120.0])
    boxes = reference.refined(seed, photo, DEFAULT, 1.0)
    assert boxes.shape == (63, 4)
    assert len(np.unique(np.round(boxes, 6), axis=0)) == 63
    np.testing.assert_array_equal(boxes[0], seed)
    scales = {(round(w / 40, 6), round(h / 20, 6)) for w, h in boxes[:, 2:] - boxes[:, :2]}
    assert scales == {
        (1, 1), (1.19, 1.19), (0.84, 0.84), (1.19, 1), (0.84, 1), (1, 1.19), (1, 0.84)
    }  # fmt: skip
    centres = (boxes[:, 2:] + boxes[:, :2]) / 2 - [120, 110]
    assert {(round(x), round(y)) for x, y in centres} == set(
        itertools.product((-8, 0, 8), (-4, 0, 4))
    )


def test_the_answer_is_a_weighted_mean() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60], [0, 0, 10, 10]], float)
    scores = np.array([0.5, 0.45, 0.4, 0.5])
    box, best = reference.answer(boxes, scores, DEFAULT)
    assert best == 0
    np.testing.assert_allclose(box, [0, 0, 10, (20 + 8 / math.e) / (2 + 1 / math.e)])
