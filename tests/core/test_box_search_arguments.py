"""Bad input of the search for boxes: errors that name the argument."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from claid_ext import _core
from claid_ext.index.box_search import BoxSearchOptions, CellMap, PhotoMap, box_search

DEFAULT = BoxSearchOptions()

BAD: list[tuple[str, Callable[[Any], dict[str, Any]], str]] = [
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
def case(box_case: Any) -> Any:
    return box_case(0, 6, 7)


def call(case: Any, **changes: Any) -> Any:
    arguments = {"photos": [case.photo], "query": case.query, "codebooks": case.codebooks}
    return box_search(**{**arguments, **changes})


@pytest.mark.parametrize(("_", "change", "message"), BAD, ids=[b[0] for b in BAD])
def test_bad_arguments(case: Any, _: str, change: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call(case, **change(case))


@pytest.mark.parametrize(("_", "change", "message"), BAD_QUERY, ids=[b[0] for b in BAD_QUERY])
def test_bad_queries(case: Any, _: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(case, query=replace(case.query, **change))


@pytest.mark.parametrize(("_", "change", "message"), BAD_PHOTO, ids=[b[0] for b in BAD_PHOTO])
def test_bad_photos(case: Any, _: str, change: Any, message: str) -> None:
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
def test_the_core_guards_itself(case: Any, place: int, value: Any, message: str) -> None:
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
