"""The search for boxes: every SIMD level agrees with the reference, that with the definition."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from claid_ext import _core
from claid_ext.index.box_search import (
    BoxSearchOptions,
    CellMap,
    PhotoMap,
    QueryTemplates,
    box_search,
)
from claid_ext.reference import box_search as reference
from hypothesis import given, settings
from hypothesis import strategies as st

DEFAULT = BoxSearchOptions()
SCORE_TOLERANCE = 1e-4
BOX_TOLERANCE = 0.5  # pixels


@pytest.fixture(scope="module", params=_core.simd_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.simd_level()
    _core.set_simd_level(request.param)
    yield request.param
    _core.set_simd_level(before)


def unit(values: Any) -> Any:
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return (values / np.where(length > 0, length, 1)).astype(np.float32)


def random_codebooks(rng: np.random.Generator) -> tuple[Any, Any]:
    """Cells decoded from these are of length 1: 16 subspaces of length 1/4."""
    return unit(rng.normal(size=(16, 256, 4))) / 4, unit(rng.normal(size=(16, 256, 4))) / 4


class Case:
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
        options = changes.pop("options", DEFAULT)
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
def _case(arguments: tuple[Any, ...], named: tuple[tuple[str, Any], ...]) -> Case:
    return Case(*arguments, **dict(named))


def made(*arguments: Any, **named: Any) -> Case:
    """One `Case` for the same arguments, whatever the level."""
    return _case(arguments, tuple(sorted(named.items())))


def assert_agrees(case: Case, options: BoxSearchOptions = DEFAULT) -> bool:
    """Compare with the reference; whether the seeds and the best were clear, so the box as well."""
    found, wanted = case.search(options=options), case.wanted(options)
    assert (found.count, found.coarse) == (wanted.count, wanted.coarse)
    first = slice(found.coarse)
    np.testing.assert_allclose(found.boxes[first], wanted.boxes[first], atol=1e-3)
    np.testing.assert_allclose(found.scores[first], wanted.scores[first], atol=SCORE_TOLERANCE)
    assert found.score == pytest.approx(wanted.score, abs=SCORE_TOLERANCE)
    assert found.score == found.scores.max()
    np.testing.assert_array_equal(found.best, found.boxes[found.scores.argmax()])
    ranked = np.sort(wanted.scores[first])[::-1]
    seeds = options.seeds if options.rounds else 0
    clear_seeds = not seeds or len(ranked) <= seeds or _gap(ranked, seeds) > SCORE_TOLERANCE
    distinct = np.unique(np.round(wanted.boxes, 3), axis=0, return_index=True)[1]
    last = np.sort(wanted.scores[distinct])[::-1]
    clear = clear_seeds and (len(last) < 2 or last[0] - last[1] > SCORE_TOLERANCE)
    if clear and options.rounds < 2:
        np.testing.assert_allclose(found.box, wanted.box, atol=BOX_TOLERANCE)
        np.testing.assert_allclose(found.best, wanted.best, atol=BOX_TOLERANCE)
        assert found.core == pytest.approx(wanted.core, abs=SCORE_TOLERANCE)
    if clear_seeds and options.rounds == 1 and _order_is_clear(ranked[:seeds]):
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=SCORE_TOLERANCE)
    return bool(clear)


def _gap(ranked: Any, place: int) -> float:
    return float(ranked[place - 1] - ranked[place])


def _order_is_clear(ranked: Any) -> bool:
    return bool((-np.diff(ranked) > SCORE_TOLERANCE).all())


SIZES = [(1, 1), (1, 2), (2, 1), (3, 3), (5, 40), (40, 2), (17, 23)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("kind", ["codes", "float16", "float32"])
def test_every_level_agrees_with_the_reference(
    level: str, kind: str, size: tuple[int, int]
) -> None:
    clear = [assert_agrees(made(seed, *size, kind=kind)) for seed in range(3)]
    assert any(clear) or size == (1, 1)


def test_large_maps(level: str) -> None:
    assert_agrees(made(5, 33, 45))
    assert_agrees(made(6, 80, 80), replace(DEFAULT, smallest_side=3.0))


@pytest.mark.parametrize("kind", ["constant", "zeros"])
@pytest.mark.parametrize("size", [(1, 1), (9, 14)])
def test_maps_without_contrast(level: str, kind: str, size: tuple[int, int]) -> None:
    case = made(1, *size, kind=kind)
    assert_agrees(case)
    found = case.search()
    if kind == "zeros":
        # Nothing is like anything: only the stored regions matter.
        overlap = reference.highest_iou(found.boxes.astype(np.float64), case.photo.regions)
        np.testing.assert_allclose(found.scores, 0.1 * overlap, atol=1e-5)
        assert found.core == 0


@pytest.mark.parametrize("dims", [(1, 1), (7, 33), (16, 48), (112, 320), (40, 64)])
def test_any_number_of_dimensions(level: str, dims: tuple[int, int]) -> None:
    assert_agrees(made(2, 9, 12, kind="float32", dims=dims))
    assert_agrees(made(3, 9, 12, kind="float16", dims=dims))


@pytest.mark.parametrize("change", [{"regions": 0}, {"regions": 1}, {"regions": 50}])
def test_stored_regions(level: str, change: dict[str, int]) -> None:
    assert_agrees(made(4, 14, 11, **change))


@pytest.mark.parametrize("cells", [0, 1, 5, 17, 333])
def test_cells_of_the_query(level: str, cells: int) -> None:
    case = made(5, 14, 11, cells=cells)
    assert_agrees(case)
    if cells == 0:
        o = case.search(options=replace(DEFAULT, contrast_weight=0.0))
        np.testing.assert_array_equal(o.scores, case.search().scores)


@pytest.mark.parametrize("templates", [1, 2, 6])
def test_templates(level: str, templates: int) -> None:
    assert_agrees(made(6, 14, 21, templates=templates))


@pytest.mark.parametrize("over", [(0.0, 0.0), (-15.0, -9.0), (14.0, 7.0)])
def test_photos_of_no_whole_number_of_cells(level: str, over: tuple[float, float]) -> None:
    case = made(7, 12, 13, over=over)
    assert_agrees(case)
    width, height = case.photo.size
    boxes = case.search().boxes
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= width
    assert boxes[:, 3].max() <= height


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": 0},
        {"rounds": 2},
        {"seeds": 0},
        {"seeds": 3, "shift": 0.1},
        {"smallest_side": 2.5, "aspects": (0.5, 1.0, 2.0)},
        {"stride_divisor": 2.0},
        {"stride_divisor": 1.0, "least_stride": 3.0},
        {"least_iou": 0.0, "temperature": 1.0},
        {"part_weight": 0.0},
        {"mean_weight": 0.0, "region_weight": 0.0},
    ],
    ids=str,
)
def test_options(level: str, changes: dict[str, Any]) -> None:
    assert_agrees(made(8, 15, 17), replace(DEFAULT, **changes))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    kind=st.sampled_from(["codes", "float16", "float32"]),
    templates=st.integers(1, 6),
    cells=st.integers(0, 40),
    regions=st.integers(0, 40),
    over=st.tuples(st.floats(-15, 15), st.floats(-15, 15)),
)
def test_random_cases(level: str, seed: int, height: int, width: int, **changes: Any) -> None:
    assert_agrees(made(seed, height, width, **changes))


def test_answers_do_not_depend_on_threads_or_other_photos(level: str) -> None:
    cases = [made(seed, 5 + 3 * seed, 21 - 2 * seed) for seed in range(7)]
    query, codebooks = cases[0].query, cases[0].codebooks
    photos = [case.photo for case in cases]

    def search(photos: list[PhotoMap], threads: int | None) -> list[tuple[Any, ...]]:
        found = box_search(photos, query, codebooks=codebooks, threads=threads, return_boxes=True)
        return [(f.box.tobytes(), f.score, f.core, f.scores.tobytes()) for f in found]

    alone = [search([photo], 1)[0] for photo in photos]
    for threads in (1, 2, 3, 16, None):
        assert search(photos, threads) == alone
    assert search(photos[::-1], 2) == alone[::-1]


def test_no_photos(level: str) -> None:
    case = made(0, 3, 3)
    assert box_search([], case.query, codebooks=case.codebooks) == []


def test_boxes_are_returned_only_when_asked_for(level: str) -> None:
    case = made(0, 6, 7)
    plain = box_search([case.photo], case.query, codebooks=case.codebooks)[0]
    assert plain.boxes is None
    assert plain.scores is None
    full = case.search()
    assert full.boxes.shape == (full.count, 4)
    assert full.scores.shape == (full.count,)
    assert plain.count == full.count
    np.testing.assert_array_equal(plain.box, full.box)


def test_the_object_is_found(level: str) -> None:
    """An object of 3 x 3 unlike parts, off the grid, in noise: the box is around it."""
    rng = np.random.default_rng(3)
    x0, y0, width, height = 83.0, 50.0, 128.0, 96.0
    directions = unit(rng.normal(size=(9, 64)))
    maps = []
    for side in (16, 32):
        shape = 320 // side, 480 // side
        cells = 0.3 * unit(rng.normal(size=(*shape, 64)))
        y, x = np.mgrid[: shape[0], : shape[1]] * float(side)
        for c, direction in enumerate(directions):
            left, top = x0 + width / 3 * (c % 3), y0 + height / 3 * (c // 3)
            wide = np.minimum(x + side, left + width / 3) - np.maximum(x, left)
            high = np.minimum(y + side, top + height / 3) - np.maximum(y, top)
            share = np.maximum(wide, 0) * np.maximum(high, 0) / side**2
            cells += share[..., None] * direction
        maps.append(CellMap(unit(cells), (side, side)))
    photo = PhotoMap(maps[0], maps[1], (480.0, 320.0), np.empty((0, 4), np.float32))
    query = QueryTemplates(
        np.stack([directions, directions]),
        unit(np.stack([directions.sum(axis=0)] * 2)),
        np.array([110, 96], np.float32),
        directions,
        aspect=width / height,
    )
    found = box_search([photo], query)[0]
    wanted = np.array([[x0, y0, x0 + width, y0 + height]])
    assert reference.iou(found.box[None].astype(np.float64), wanted)[0, 0] > 0.85
    assert reference.iou(found.best[None].astype(np.float64), wanted)[0, 0] > 0.7


# The reference against the definition, in the plainest form.


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


def test_the_grid_is_centred_and_as_wide_as_said() -> None:
    photo = made(0, 20, 30, over=(0.0, 0.0)).photo
    boxes = reference.coarse_grid(photo, 1.0, replace(DEFAULT, aspects=(1.0, 1.0, 1.0)))
    sides = np.unique(np.round(boxes[:, 2] - boxes[:, 0], 6))
    wanted = [22.4 * math.sqrt(2) ** n for n in range(9)]
    np.testing.assert_allclose(sides[: len(wanted)], wanted[: len(sides)], rtol=1e-6)
    first = boxes[np.isclose(boxes[:, 2] - boxes[:, 0], 22.4)]
    starts = np.unique(np.round(first[:, 0], 6))
    np.testing.assert_allclose(np.diff(starts), 22.4 / 1.5)
    assert starts[0] == pytest.approx(480 - (starts[-1] + 22.4))
    assert starts[0] < 22.4 / 1.5 / 2 + 1e-6


def test_refined_boxes() -> None:
    photo = made(0, 20, 30, over=(0.0, 0.0)).photo
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


BAD: list[tuple[str, Callable[[Case], dict[str, Any]], str]] = [
    ("photos", lambda c: {"photos": [c.query]}, r"photos\[0\] must be a PhotoMap"),
    ("query", lambda c: {"query": c.photo}, "query must be QueryTemplates"),
    ("options", lambda c: {"options": {}}, "options must be BoxSearchOptions"),
    ("codebooks", lambda c: {"codebooks": c.codebooks[:1]}, "codebooks must be"),
    (
        "codebook shape",
        lambda c: {"codebooks": (c.codebooks[0], c.codebooks[1][:8])},
        r"codebooks\[1\] must have the shape",
    ),
    ("no codebooks", lambda c: {"codebooks": None}, "codebook16 is needed"),
    ("threads", lambda c: {"threads": 0}, "threads"),
]
BAD_QUERY: list[tuple[str, dict[str, Any], str]] = [
    ("parts", {"parts": np.ones((4, 8, 64), np.float32)}, "query.parts must have the shape"),
    ("parts dtype", {"parts": np.ones((4, 9, 64))}, "query.parts must be a float32"),
    ("parts NaN", {"parts": np.full((4, 9, 64), np.nan, np.float32)}, "query.parts must be finite"),
    ("no parts", {"parts": np.ones((0, 9, 64), np.float32)}, "query.means must have the shape"),
    ("parts long", {"parts": np.ones((4, 9, 64), np.float32)}, "of length 1"),
    ("means", {"means": np.ones((3, 64), np.float32)}, "query.means must have the shape"),
    ("sides", {"sides": np.ones(3, np.float32)}, "query.sides must be 4 positive"),
    ("sides order", {"sides": np.array([9, 9, 8, 10], np.float32)}, "must ascend"),
    ("cells", {"cells": np.zeros((3, 63), np.float32)}, "query.cells must have the shape"),
    ("many cells", {"cells": np.zeros((4097, 64), np.float32)}, "query.cells must be at most"),
    ("aspect", {"aspect": 0.0}, "query.aspect must be a number"),
    ("cell_side", {"cell_side": math.nan}, "query.cell_side must be a number"),
]
BAD_PHOTO: list[tuple[str, Callable[[PhotoMap], dict[str, Any]], str]] = [
    ("size", lambda p: {"size": (0.0, 80.0)}, "size"),
    ("size of the map", lambda p: {"size": (200.0, 80.0)}, "do not cover the photo's width"),
    ("regions", lambda p: {"regions": np.ones((2, 3), np.float32)}, "regions must have the shape"),
    (
        "region without area",
        lambda p: {"regions": np.array([[5, 5, 5, 9]], np.float32)},
        "regions must be boxes",
    ),
    (
        "region outside",
        lambda p: {"regions": np.array([[500, 5, 600, 9]], np.float32)},
        "regions must be boxes",
    ),
    ("cells", lambda p: {"e16": CellMap(np.zeros((6, 7, 15), np.uint8), (16, 16))}, "e16"),
    ("cells dtype", lambda p: {"e16": CellMap(np.zeros((6, 7, 64)), (16, 16))}, "e16.cells must"),
    ("no cells", lambda p: {"e32": CellMap(np.zeros((0, 4, 16), np.uint8), (32, 32))}, "e32.cells"),
    (
        "cells long",
        lambda p: {"e16": CellMap(np.full((6, 7, 64), 9, np.float16), (16, 16))},
        "of length 1",
    ),
    ("cell", lambda p: {"e16": CellMap(p.e16.cells, (0.0, 16.0))}, "cell"),
    ("other dims", lambda p: {"e32": CellMap(np.zeros((3, 4, 8), np.float32), (32, 32))}, "e32"),
]


@pytest.fixture(scope="module")
def case() -> Case:
    return made(0, 6, 7)


def call(case: Case, **changes: Any) -> Any:
    arguments = {"photos": [case.photo], "query": case.query, "codebooks": case.codebooks}
    return box_search(**{**arguments, **changes})


@pytest.mark.parametrize(("_", "change", "message"), BAD, ids=[b[0] for b in BAD])
def test_bad_arguments(case: Case, _: str, change: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call(case, **change(case))


@pytest.mark.parametrize(("_", "change", "message"), BAD_QUERY, ids=[b[0] for b in BAD_QUERY])
def test_bad_queries(case: Case, _: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(case, query=replace(case.query, **change))


@pytest.mark.parametrize(("_", "change", "message"), BAD_PHOTO, ids=[b[0] for b in BAD_PHOTO])
def test_bad_photos(case: Case, _: str, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(case, photos=[case.photo, replace(case.photo, **change(case.photo))])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": -1}, "seeds must be an integer"),
        ({"rounds": 3}, "rounds must be an integer"),
        ({"temperature": 0.0}, "temperature must be a number"),
        ({"aspects": (1.0,)}, "aspects must be 3"),
        ({"aspects": (1.0, 1.0, -1.0)}, "aspects must be a number"),
        ({"stride_divisor": math.nan}, "stride_divisor must be a number"),
    ],
    ids=str,
)
def test_bad_options(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoxSearchOptions(**changes)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, [np.zeros((6, 7, 15), np.uint8)], r"e16\[0\] must be"),
        (1, [], "e32: one map per photo"),
        (2, np.ones((1, 5)), "layout must be"),
        (2, np.zeros((1, 6)), "layout must be positive"),
        (3, [np.zeros((2, 3), np.float32)], r"regions\[0\] must be"),
        (4, np.zeros((16, 256, 3), np.float32), "codebook16 must be"),
        (6, np.zeros((4, 8, 64), np.float32), "parts must be"),
        (7, np.zeros((3, 64), np.float32), "means must be"),
        (8, np.zeros(3, np.float32), "sides must be"),
        (9, np.zeros((3, 65), np.float32), "cells must be"),
        (10, 0.0, "aspect must be positive"),
    ],
    ids=str,
)
def test_the_core_guards_itself(case: Case, place: int, value: Any, message: str) -> None:
    photo, query = case.photo, case.query
    arguments = [
        [photo.e16.cells],
        [photo.e32.cells],
        np.array([[*photo.size, 16.0, 16.0, 32.0, 32.0]]),
        [photo.regions],
        *case.codebooks,
        query.parts,
        query.means,
        query.sides,
        query.cells,
        query.aspect,
        query.cell_side,
    ]
    options = dict(vars(DEFAULT), threads=1, keep_boxes=False)
    assert len(_core.box_search(*arguments, **options)) == 1
    arguments[place] = value
    with pytest.raises(ValueError, match=message):
        _core.box_search(*arguments, **options)
