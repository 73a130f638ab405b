"""The search for a box, per photo: every SIMD level beside the plain one and the NumPy reference.

The arithmetic floor counts what the definition asks for, box by box, as if boxes shared nothing:
16 corner reads of 64 numbers, each between four cells (3 multiply-adds), the 9 part sums (3
additions each), 9 norms and 9 dot products (native and S share one, as their templates can be
added), the same for the one part of e32, and G times the cells. It is divided by the multiply-adds
that a processor of that level issues a cycle at best, at the clock found by timing dependent
additions. The kernel shares parts between boxes and matches G in int16, so it may be below.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

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

# Of a photo of 380,000 pixels; what search.md's figures of a query come to.
CELLS16, CELLS32 = (33, 45), (17, 23)
SIZE = (45 * 16 - 5.0, 33 * 16 - 3.0)
REGIONS, TEMPLATES, QUERY_CELLS = 36, 9, 600
DIMS = 64
TARGET_MS = 2.5  # on AVX2, one thread
PAIRS = 11
# Multiply-adds of float32 a cycle: two instructions of 4, 8 or 16.
LANES = {"scalar": 8, "neon": 8, "avx2": 16, "avx512": 32, "avx512vnni": 32}


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def scene() -> tuple[PhotoMap, QueryTemplates, tuple[np.ndarray, np.ndarray]]:
    """A photo with an object of like cells, and a query for it; the same on every machine."""
    rng = np.random.default_rng(0)
    codebooks = (unit(rng.normal(size=(16, 256, 4))) / 4, unit(rng.normal(size=(16, 256, 4))) / 4)
    codes = [rng.integers(0, 256, (*shape, 16), dtype=np.uint8) for shape in (CELLS16, CELLS32)]
    for code, side in zip(codes, (16, 32), strict=True):
        y0, y1, x0, x1 = 160 // side, 320 // side, 192 // side, 384 // side
        code[y0:y1, x0:x1, :12] = code[y0, x0, :12]
    corners = np.sort(rng.uniform(0, 1, (REGIONS, 2, 2)), axis=1) * (np.array(SIZE) - 2)
    regions = corners.reshape(-1, 4).astype(np.float32)
    regions[:, 2:] += 1
    maps = [CellMap(code, (side, side)) for code, side in zip(codes, (16.0, 32.0), strict=True)]
    seen = [reference.decode(m, b) for m, b in zip(maps, codebooks, strict=True)]
    query = QueryTemplates(
        unit(seen[0][10, 12] + 0.05 * rng.normal(size=(TEMPLATES, 9, DIMS))),
        unit(seen[1][5, 6] + 0.05 * rng.normal(size=(TEMPLATES, DIMS))),
        np.array([110, 24, 34, 48, 68, 96, 136, 192, 272], np.float32),
        unit(seen[0][10, 12] + 0.1 * rng.normal(size=(QUERY_CELLS, DIMS))),
        aspect=1.2,
    )
    return PhotoMap(maps[0], maps[1], SIZE, regions), query, codebooks


PHOTO, QUERY, CODEBOOKS = scene()


def search(photos: int = 1) -> list[FoundBox]:
    return box_search([PHOTO] * photos, QUERY, codebooks=CODEBOOKS, threads=1)


def search_at(level: str, photos: int = 1) -> list[FoundBox]:
    before = _core.simd_level()
    _core.set_simd_level(level)
    try:
        return search(photos)
    finally:
        _core.set_simd_level(before)


def in_numpy() -> reference.Result:
    return reference.box_search(PHOTO, QUERY, codebooks=CODEBOOKS, options=BoxSearchOptions())


def multiply_adds(boxes: int) -> int:
    """Count the floor's multiply-adds of one photo."""
    corners, parts = 16, 9
    e16 = corners * 3 + parts * (3 + 2)
    e32 = 4 * 3 + 3 + 2
    match = QUERY_CELLS * CELLS16[0] * CELLS16[1]
    return DIMS * (boxes * (e16 + e32) + match)


def clock_hz() -> float:
    """The clock, about: the fastest of several sums that no processor can reorder.

    NumPy's cumulative sum of float64 takes the latency of one addition a number, 3 or 4 cycles.
    """
    numbers = np.ones(100_000)
    out = np.empty_like(numbers)
    fastest = np.inf
    for _ in range(50):
        start = time.perf_counter()
        np.cumsum(numbers, out=out)
        fastest = min(fastest, time.perf_counter() - start)
    return 3.0 * len(numbers) / fastest


@pytest.fixture(params=_core.simd_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.simd_level()
    _core.set_simd_level(request.param)
    yield request.param
    _core.set_simd_level(before)


def test_box_search(benchmark, level):
    benchmark.group = "box search, one photo, 1 thread"
    found = benchmark(search)[0]
    wanted = in_numpy()
    assert found.count == wanted.count
    assert found.score == pytest.approx(wanted.score, abs=1e-4)
    np.testing.assert_allclose(found.box, wanted.box, atol=0.5)
    info = benchmark.extra_info
    info["boxes"] = found.count
    info["million multiply-adds"] = multiply_adds(found.count) / 1e6
    info["target ms (AVX2)"] = TARGET_MS
    if benchmark.disabled:
        return
    timings = interleave(
        {"plain": lambda: search_at("scalar"), "level": lambda: search_at(level)}, PAIRS
    )
    info["plain -O3 level / this level"] = timings.ratio("plain", to="level").median
    fastest = float(timings.seconds["level"].min())
    info["ms, fastest"] = 1e3 * fastest
    floor = multiply_adds(found.count) / LANES[level] / clock_hz()
    info["time / arithmetic floor"] = fastest / floor


def test_reference(benchmark):
    benchmark.group = "box search, one photo, 1 thread"
    wanted = benchmark.pedantic(in_numpy, rounds=3)
    found = search()[0]
    np.testing.assert_allclose(found.box, wanted.box, atol=0.5)
    if not benchmark.disabled:
        timings = interleave({"reference": in_numpy, "kernel": search}, 3)
        ratio = timings.ratio("reference", to="kernel")
        benchmark.extra_info["reference / kernel"] = ratio.median


@pytest.mark.parametrize("photos", [30])
def test_threads(benchmark, photos):
    """The best 30 photos of a search, as stage 2 gets them."""
    benchmark.group = f"box search, {photos} photos, 2 threads"

    def both() -> list[FoundBox]:
        return box_search([PHOTO] * photos, QUERY, codebooks=CODEBOOKS, threads=2)

    found = benchmark(both)
    alone = search()[0]
    assert all(np.array_equal(one.box, alone.box) for one in found)
    if not benchmark.disabled:
        timings = interleave({"one": lambda: search(photos), "two": both}, PAIRS)
        benchmark.extra_info["1 thread / 2 threads"] = timings.ratio("one", to="two").median
