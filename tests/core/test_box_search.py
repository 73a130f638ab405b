"""The search for boxes: every SIMD level agrees with the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
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


def _unit(values: Any) -> Any:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def assert_agrees(case: Any, options: BoxSearchOptions = DEFAULT) -> bool:
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
    box_case: Any, level: str, kind: str, size: tuple[int, int]
) -> None:
    clear = [assert_agrees(box_case(seed, *size, kind=kind)) for seed in range(3)]
    assert any(clear) or size == (1, 1)


def test_large_maps(box_case: Any, level: str) -> None:
    assert_agrees(box_case(5, 33, 45))
    assert_agrees(box_case(6, 80, 80), replace(DEFAULT, smallest_side=3.0))


@pytest.mark.parametrize("kind", ["constant", "zeros"])
@pytest.mark.parametrize("size", [(1, 1), (9, 14)])
def test_maps_without_contrast(box_case: Any, level: str, kind: str, size: tuple[int, int]) -> None:
    case = box_case(1, *size, kind=kind)
    assert_agrees(case)
    found = case.search()
    if kind == "zeros":
        # Nothing is like anything: only the stored regions matter.
        overlap = reference.highest_iou(found.boxes.astype(np.float64), case.photo.regions)
        np.testing.assert_allclose(found.scores, 0.1 * overlap, atol=1e-5)
        assert found.core == 0


@pytest.mark.parametrize("dims", [(1, 1), (7, 33), (16, 48), (112, 320), (40, 64)])
def test_any_number_of_dimensions(box_case: Any, level: str, dims: tuple[int, int]) -> None:
    assert_agrees(box_case(2, 9, 12, kind="float32", dims=dims))
    assert_agrees(box_case(3, 9, 12, kind="float16", dims=dims))


@pytest.mark.parametrize("change", [{"regions": 0}, {"regions": 1}, {"regions": 50}])
def test_stored_regions(box_case: Any, level: str, change: dict[str, int]) -> None:
    assert_agrees(box_case(4, 14, 11, **change))


@pytest.mark.parametrize("cells", [0, 1, 5, 17, 333])
def test_cells_of_the_query(box_case: Any, level: str, cells: int) -> None:
    case = box_case(5, 14, 11, cells=cells)
    assert_agrees(case)
    if cells == 0:
        o = case.search(options=replace(DEFAULT, contrast_weight=0.0))
        np.testing.assert_array_equal(o.scores, case.search().scores)


@pytest.mark.parametrize("templates", [1, 2, 6])
def test_templates(box_case: Any, level: str, templates: int) -> None:
    assert_agrees(box_case(6, 14, 21, templates=templates))


@pytest.mark.parametrize("over", [(0.0, 0.0), (-15.0, -9.0), (14.0, 7.0)])
def test_photos_of_no_whole_number_of_cells(
    box_case: Any, level: str, over: tuple[float, float]
) -> None:
    case = box_case(7, 12, 13, over=over)
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
def test_options(box_case: Any, level: str, changes: dict[str, Any]) -> None:
    assert_agrees(box_case(8, 15, 17), replace(DEFAULT, **changes))


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
def test_random_cases(
    box_case: Any, level: str, seed: int, height: int, width: int, **changes: Any
) -> None:
    assert_agrees(box_case(seed, height, width, **changes))


def test_answers_do_not_depend_on_threads_or_other_photos(box_case: Any, level: str) -> None:
    cases = [box_case(seed, 5 + 3 * seed, 21 - 2 * seed) for seed in range(7)]
    query, codebooks = cases[0].query, cases[0].codebooks
    photos = [case.photo for case in cases]

    def search(photos: list[PhotoMap], threads: int | None) -> list[tuple[Any, ...]]:
        found = box_search(photos, query, codebooks=codebooks, threads=threads, return_boxes=True)
        return [(f.box.tobytes(), f.score, f.core, f.scores.tobytes()) for f in found]

    alone = [search([photo], 1)[0] for photo in photos]
    for threads in (1, 2, 3, 16, None):
        assert search(photos, threads) == alone
    assert search(photos[::-1], 2) == alone[::-1]


def test_no_photos(box_case: Any, level: str) -> None:
    case = box_case(0, 3, 3)
    assert box_search([], case.query, codebooks=case.codebooks) == []


def test_boxes_are_returned_only_when_asked_for(box_case: Any, level: str) -> None:
    case = box_case(0, 6, 7)
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
    directions = _unit(rng.normal(size=(9, 64)))
    maps = []
    for side in (16, 32):
        shape = 320 // side, 480 // side
        cells = 0.3 * _unit(rng.normal(size=(*shape, 64)))
        y, x = np.mgrid[: shape[0], : shape[1]] * float(side)
        for c, direction in enumerate(directions):
            left, top = x0 + width / 3 * (c % 3), y0 + height / 3 * (c // 3)
            wide = np.minimum(x + side, left + width / 3) - np.maximum(x, left)
            high = np.minimum(y + side, top + height / 3) - np.maximum(y, top)
            share = np.maximum(wide, 0) * np.maximum(high, 0) / side**2
            cells += share[..., None] * direction
        maps.append(CellMap(_unit(cells), (side, side)))
    photo = PhotoMap(maps[0], maps[1], (480.0, 320.0), np.empty((0, 4), np.float32))
    query = QueryTemplates(
        np.stack([directions, directions]),
        _unit(np.stack([directions.sum(axis=0)] * 2)),
        np.array([110, 96], np.float32),
        directions,
        aspect=width / height,
    )
    found = box_search([photo], query)[0]
    wanted = np.array([[x0, y0, x0 + width, y0 + height]])
    assert reference.iou(found.box[None].astype(np.float64), wanted)[0, 0] > 0.85
    assert reference.iou(found.best[None].astype(np.float64), wanted)[0, 0] > 0.7
