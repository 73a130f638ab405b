"""Fuzzing of arguments: those of `detect`, of the compiled functions, of the box search."""

from __future__ import annotations

from pathlib import Path

import claid_ext
import numpy as np
from bits import Bits
from claid_ext import _core
from claid_ext.index.box_search import (
    BoxSearchOptions,
    CellMap,
    PhotoMap,
    QueryTemplates,
    box_search,
)


def detect(content: bytes, _: Path) -> None:
    """Every argument of `claid_ext.detect`, right and wrong."""
    bits = Bits(content)
    height, width = bits.integer(0, 9), bits.integer(0, 9)
    dims = bits.often(bits.integer(1, 40), [0, 1, 257])
    rows = height * width + bits.often(0, [-1, 1])
    shape = bits.often([max(rows, 0), dims], [[max(rows, 0)], [2, max(rows, 0), dims], []])
    kind = bits.choice(
        [np.float32, np.float32, np.float64, np.float16, np.int8, np.int64, np.bool_, np.complex64]
    )
    features = bits.array(shape, kind)
    options = {
        "tau": bits.often(bits.integer(-10, 10) / 10, [bits.number(), "0.2", None]),
        "connectivity": bits.often(bits.integer(0, 10) / 10, [bits.number()]),
        "energy_top": bits.often(bits.integer(0, 10) / 10, [bits.number()]),
        "dominance": bits.often(None, [bits.number(), 0.5]),
        "min_patches": bits.often(bits.integer(2, 20), [-1, 0, 1, 2.5, 2**40]),
        "init": bits.often("seeds", ["random", "", 3]),
        "seed": bits.often(bits.integer(0, 2**64 - 1), [-1, 2**64]),
        "max_passes": bits.often(bits.integer(1, 60), [0, -5, 2**70]),
        "preset": bits.often(None, ["released", "other"]),
        "threads": bits.often(bits.integer(1, 3), [0, -1, None, 2**33]),
    }
    grid = bits.often((height, width), [(height,), None, (-height, -width), "ab", (2**40, 2**40)])
    found = claid_ext.detect(features, grid, **options)
    wanted = claid_ext.reference.detect(
        features, grid, **{name: value for name, value in options.items() if name != "threads"}
    )
    assert found == wanted


def core_detect(content: bytes, _: Path) -> None:
    """The compiled function itself: it checks what memory safety rests on."""
    bits = Bits(content)
    images = bits.integer(0, 3)
    features, grids = [], []
    for _i in range(images):
        height, width = bits.integer(0, 7), bits.integer(0, 7)
        dims = bits.integer(0, 9)
        rows = height * width + bits.often(0, [-1, 1])
        shape = bits.often((max(rows, 0), dims), [(max(rows, 0),), (1, 1, 1), ()])
        features.append(bits.array(shape, bits.often(np.float32, [np.float64, np.uint8])))
        grids.append(bits.often((height, width), [(-height, width), (2**31, 2**31)]))
    if bits.integer(0, 7) == 0:
        grids = grids[:-1]
    options = _core.Options(
        tau=bits.often(0.2, [bits.number()]),
        connectivity=bits.often(0.97, [bits.number()]),
        energy_top=bits.often(0.3, [bits.number()]),
        dominance=bits.often(0.2, [bits.number()]),
        min_patches=bits.often(2, [0, 1, 10**9]),
        random_start=bool(bits.integer(0, 1)),
        seed=bits.integer(0, 2**64 - 1),
        max_passes=bits.integer(0, 9),
        released=bool(bits.integer(0, 1)),
    )
    _core.detect(features, grids, options, threads=bits.often(1, [0, -3, 2, 5]))


def boxes(content: bytes, _: Path) -> None:
    """The arguments of `box_search`."""
    bits = Bits(content)
    dims = bits.choice([4, 64, 7])
    coded = dims == 64 and bool(bits.integer(0, 1))

    def cells(count: tuple[int, int]) -> np.ndarray:
        if coded:
            depth = bits.often(16, [15, 64])
            return bits.array((*count, depth), np.uint8)
        values = bits.array((*count, dims), bits.often(np.float32, [np.float16, np.float64]))
        if bits.integer(0, 7):
            with np.errstate(all="ignore"):
                values /= np.maximum(np.linalg.norm(values.astype(np.float64), axis=-1), 1)[
                    ..., None
                ].astype(values.dtype)
        return values

    photos = []
    for _i in range(bits.integer(0, 2)):
        high, wide = bits.integer(1, 9), bits.integer(1, 9)
        fine = CellMap(cells((high, wide)), (16.0, bits.often(16.0, [bits.number()])))
        coarse = CellMap(cells(((high + 1) // 2, (wide + 1) // 2)), (32.0, 32.0))
        size = (16.0 * wide, bits.often(16.0 * high, [bits.number()]))
        drawn = np.sort(bits.array((bits.integer(0, 3), 2, 2)), axis=1).reshape(-1, 4)
        regions = bits.often(np.array([[0, 0, 5, 5]], np.float32), [drawn])
        photos.append(PhotoMap(fine, coarse, size, regions))
    templates = bits.integer(1, 3)

    def unit(shape: tuple[int, ...]) -> np.ndarray:
        rows = bits.array(shape)
        with np.errstate(all="ignore"):
            return np.ascontiguousarray(
                rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1)
            ).astype(np.float32)

    query = QueryTemplates(
        unit((templates, 9, dims)),
        unit((templates, dims)),
        np.arange(1, templates + 1, dtype=np.float32) * np.float32(bits.often(20, [1e-3, 1e6])),
        unit((bits.integer(0, 4), dims)),
        bits.often(1.5, [bits.number()]),
    )
    books = (unit((16, 256, 4)), unit((16, 256, 4))) if coded else None
    options = BoxSearchOptions(
        seeds=bits.often(5, [0, 10_000, -1]),
        rounds=bits.integer(0, 2),
        temperature=bits.often(0.05, [bits.number()]),
        least_iou=bits.often(0.4, [bits.number()]),
    )
    for photo, found in zip(
        photos, box_search(photos, query, codebooks=books, options=options, threads=1), strict=True
    ):
        x0, y0, x1, y1 = found.box.tolist()
        assert 0 <= x0 <= x1 <= np.float32(photo.size[0])
        assert 0 <= y0 <= y1 <= np.float32(photo.size[1])
        assert np.isfinite([found.score, found.core]).all()


def seeds() -> list[bytes]:
    """Bytes at random: each means some arguments."""
    rng = np.random.default_rng(0)
    return [rng.bytes(120) for _ in range(8)] + [b"", b"\xff" * 64]
