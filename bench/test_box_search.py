"""The search for a box, per photo: every SIMD level beside the plain one and the NumPy reference.

The arithmetic floor counts what the definition asks for, box by box, as if boxes shared nothing:
16 corner reads of 64 numbers, each between four cells (3 multiply-adds), the 9 part sums (3
additions each), 9 norms and 9 dot products (native and S share one, as their templates can be
added), the same for the one part of e32, and G times the cells. They are divided by the speed of
NumPy's float32 matrix product, timed in turn with the kernel. The kernel shares parts between boxes
and matches G in int16, so it may be below.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from claid_ext import _core
from claid_ext.benchmarks.timing import interleave
from claid_ext.index.box_search import (
    BoxSearchOptions,
    CellMap,
    FoundBox,
    PhotoMap,
    QueryTemplates,
    box_search,
)
from claid_ext.reference import box_search as reference

# Two photos: of 640 x 480 pixels with a usual query, and of 380,000 pixels (the most that is kept)
# with the most cells of a query.
SCENES = {"640x480, 250 cells": (30, 40, 250), "717x525, 600 cells": (33, 45, 600)}
REGIONS, TEMPLATES, DIMS = 36, 9, 64
PHOTOS_A_CALL = 10
TARGET_MS = 2.5  # on AVX2, one thread
PAIRS = 11
MATRIX = 512  # rows and columns of the matrix product that the floor is measured by


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


Scene = tuple[PhotoMap, QueryTemplates, tuple[np.ndarray, np.ndarray]]


@cache
def made(height: int, width: int, query_cells: int) -> Scene:
    """A photo with an object of like cells, and a query for it; the same on every machine."""
    size = (width * 16 - 3.0, height * 16 - 3.0)
    shapes = (height, width), (-(-height // 2), -(-width // 2))
    rng = np.random.default_rng(0)
    codebooks = (unit(rng.normal(size=(16, 256, 4))) / 4, unit(rng.normal(size=(16, 256, 4))) / 4)
    codes = [rng.integers(0, 256, (*shape, 16), dtype=np.uint8) for shape in shapes]
    for code, side in zip(codes, (16, 32), strict=True):
        y0, y1, x0, x1 = 160 // side, 320 // side, 192 // side, 384 // side
        code[y0:y1, x0:x1, :12] = code[y0, x0, :12]
    corners = np.sort(rng.uniform(0, 1, (REGIONS, 2, 2)), axis=1) * (np.array(size) - 2)
    regions = corners.reshape(-1, 4).astype(np.float32)
    regions[:, 2:] += 1
    maps = [CellMap(code, (side, side)) for code, side in zip(codes, (16.0, 32.0), strict=True)]
    seen = [reference.decode(m, b) for m, b in zip(maps, codebooks, strict=True)]
    query = QueryTemplates(
        unit(seen[0][10, 12] + 0.05 * rng.normal(size=(TEMPLATES, 9, DIMS))),
        unit(seen[1][5, 6] + 0.05 * rng.normal(size=(TEMPLATES, DIMS))),
        np.array([110, 24, 34, 48, 68, 96, 136, 192, 272], np.float32),
        unit(seen[0][10, 12] + 0.1 * rng.normal(size=(query_cells, DIMS))),
        aspect=1.2,
    )
    return PhotoMap(maps[0], maps[1], size, regions), query, codebooks


def search(scene: Scene, photos: int = PHOTOS_A_CALL, threads: int = 1) -> list[FoundBox]:
    photo, query, codebooks = scene
    return box_search([photo] * photos, query, codebooks=codebooks, threads=threads)


def search_at(level: str, scene: Scene) -> list[FoundBox]:
    before = _core.simd_level()
    _core.set_simd_level(level)
    try:
        return search(scene)
    finally:
        _core.set_simd_level(before)


def in_numpy(scene: Scene) -> reference.Result:
    photo, query, codebooks = scene
    return reference.box_search(photo, query, codebooks=codebooks, options=BoxSearchOptions())


def multiply_adds(scene: Scene, boxes: int) -> int:
    """Count the floor's multiply-adds of one photo."""
    corners, parts = 16, 9
    e16 = corners * 3 + parts * (3 + 2)
    e32 = 4 * 3 + 3 + 2
    height, width, _ = scene[0].e16.cells.shape
    return DIMS * (boxes * (e16 + e32) + len(scene[1].cells) * height * width)


@cache
def matrix() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(MATRIX, MATRIX)).astype(np.float32)


@pytest.fixture(params=_core.simd_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.simd_level()
    _core.set_simd_level(request.param)
    yield request.param
    _core.set_simd_level(before)


@pytest.fixture(params=list(SCENES), scope="module")
def scene(request: pytest.FixtureRequest) -> Scene:
    return made(*SCENES[request.param])


def test_box_search(benchmark, level, scene):
    benchmark.group = f"box search, {PHOTOS_A_CALL} photos, 1 thread"
    found = benchmark(search, scene)[0]
    wanted = in_numpy(scene)
    assert found.count == wanted.count
    assert found.score == pytest.approx(wanted.score, abs=1e-4)
    np.testing.assert_allclose(found.box, wanted.box, atol=0.5)
    info = benchmark.extra_info
    info["boxes"] = found.count
    info["million multiply-adds a photo"] = multiply_adds(scene, found.count) / 1e6
    info["target ms a photo (AVX2)"] = TARGET_MS
    if benchmark.disabled:
        return
    tasks = {
        "plain": lambda: search_at("scalar", scene),
        "level": lambda: search_at(level, scene),
        "matmul": lambda: matrix() @ matrix(),
    }
    timings = interleave(tasks, PAIRS)
    info["plain -O3 level / this level"] = timings.ratio("plain", to="level").median
    info["ms a photo, fastest"] = 1e3 * float(timings.seconds["level"].min()) / PHOTOS_A_CALL
    floor = PHOTOS_A_CALL * multiply_adds(scene, found.count) / MATRIX**3
    info["time / arithmetic floor"] = timings.ratio("level", to="matmul").median / floor


def test_reference(benchmark, scene):
    benchmark.group = "box search, NumPy, one photo, 1 thread"
    wanted = benchmark.pedantic(in_numpy, (scene,), rounds=3)
    found = search(scene, 1)[0]
    np.testing.assert_allclose(found.box, wanted.box, atol=0.5)
    if not benchmark.disabled:
        timings = interleave({"one": lambda: in_numpy(scene), "ten": lambda: search(scene)}, 3)
        ratio = timings.ratio("one", to="ten").median * PHOTOS_A_CALL
        benchmark.extra_info["reference / kernel"] = ratio


def test_threads(benchmark, scene):
    """The best 30 photos of a search, as stage 2 gets them."""
    photos = 30
    benchmark.group = f"box search, {photos} photos, 2 threads"
    found = benchmark(search, scene, photos, 2)
    alone = search(scene, 1)[0]
    assert all(np.array_equal(one.box, alone.box) for one in found)
    if not benchmark.disabled:
        timings = interleave(
            {"one": lambda: search(scene, photos), "two": lambda: search(scene, photos, 2)}, 3
        )
        benchmark.extra_info["1 thread / 2 threads"] = timings.ratio("one", to="two").median
