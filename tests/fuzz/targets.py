"""What is fuzzed: the arguments of the extension, and every kind of file that is read.

A target takes bytes and must return, or raise one of its `expected` errors. Anything else is a
bug: another exception, a crash, or an assertion that a value which came back makes no sense.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import claid_ext
import numpy as np
from bits import Bits
from claid_ext import _core
from claid_ext.blocks import DIGEST_BYTES
from claid_ext.errors import ClaidError
from claid_ext.index.box_search import (
    BoxSearchOptions,
    CellMap,
    PhotoMap,
    QueryTemplates,
    box_search,
)
from claid_ext.record import CellMap as StoredMap
from claid_ext.record import ImageRecord, maps_from_bytes, maps_to_bytes
from claid_ext.regions.value import Regions

Run = Callable[[bytes, Path], None]


@dataclass(frozen=True)
class Target:
    """One thing to fuzz.

    Attributes
    ----------
    run : takes the bytes, and an empty folder for files.
    seeds : what to begin with: sound inputs.
    expected : what it may raise.
    needs : modules without which it cannot run.
    """

    run: Run
    seeds: Callable[[], list[bytes]]
    expected: tuple[type[Exception], ...] = (ClaidError, ValueError)
    needs: tuple[str, ...] = ()


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


def record(content: bytes, _: Path) -> None:
    """`ImageRecord.from_bytes`: what is read is written and read as the same."""
    once = ImageRecord.from_bytes(content).to_bytes()
    assert ImageRecord.from_bytes(once).to_bytes() == once


def maps(content: bytes, _: Path) -> None:
    """`maps_from_bytes`, likewise."""
    once = maps_to_bytes(maps_from_bytes(content))
    assert maps_to_bytes(maps_from_bytes(once)) == once


def sealed(content: bytes) -> bytes:
    """The same blocks with the checksum that fits them: so the fuzzer gets behind it."""
    body = content[:-DIGEST_BYTES]
    return body + hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def sealed_record(content: bytes, folder: Path) -> None:
    """Records whose checksum fits."""
    record(sealed(content), folder)


def sealed_maps(content: bytes, folder: Path) -> None:
    """Maps whose checksum fits."""
    maps(sealed(content), folder)


def sealed_basis(content: bytes, folder: Path) -> None:
    """Bases whose checksum fits."""
    basis(sealed(content), folder)


def basis(content: bytes, _: Path) -> None:
    """`Basis.from_bytes`, likewise."""
    from claid_ext.descriptors.basis import Basis

    once = Basis.from_bytes(content).to_bytes()
    assert Basis.from_bytes(once).to_bytes() == once


def tree(content: bytes, folder: Path) -> None:
    """`RegionTree.load`: a tree that is read can be used and saved."""
    (path := folder / "tree.npz").write_bytes(content)
    read = claid_ext.RegionTree.load(path)
    read.masks(read.kept)
    read.save(path)
    assert claid_ext.RegionTree.load(path) == read


def manifest(content: bytes, folder: Path) -> None:
    """`read_manifest`, and the recipes in it."""
    from claid_ext.index.manifest import read_manifest

    (folder / "manifest.json").write_bytes(content)
    assert isinstance(read_manifest(folder), dict)


def table(content: bytes, folder: Path) -> None:
    """The SQLite file of an index: every record is read."""
    from claid_ext.index import EmbeddedStore

    (folder / "records.sqlite").write_bytes(content)
    store = EmbeddedStore(folder)
    try:
        with store.reading() as view:
            assert len(view.table.ids) == len(view.table.paths) == len(view.table.counts)
            list(view.records(view.table.ids))
            list(view.maps(view.table.ids))
            if len(view.table.ids):
                query = np.zeros((1, int(store.get("dim"))), np.float32)
                view.candidates(query, 5, 1)
        store.file_states()
    finally:
        store.close()


def weights(content: bytes, folder: Path) -> None:
    """Checkpoints: no code that a pickle may hold is run."""
    from claid_ext.weights import read_checkpoint

    suffix = Bits(content[:1]).choice([".pth", ".safetensors", ".onnx"])
    (path := folder / f"weights{suffix}").write_bytes(content[1:])
    read_checkpoint(path)


def ground_truth(content: bytes, folder: Path) -> None:
    """Files of annotations: COCO's JSON, and the pickles of revisited Oxford and Paris."""
    from claid_ext.evaluation.datasets import load_detection
    from claid_ext.evaluation.datasets.files import read_ground_truth

    suffix = Bits(content[:1]).choice([".json", ".pkl", ".mat", ".coco"])
    name = "truth.json" if suffix == ".coco" else f"truth{suffix}"
    (path := folder / name).write_bytes(content[1:])
    if suffix == ".coco":
        load_detection(path, folder)
    else:
        read_ground_truth(path)


def picture(content: bytes, folder: Path) -> None:
    """Image files."""
    from claid_ext.images import load_image

    (path := folder / "picture.png").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata
        made = load_image(path)
    assert made.mode == "RGB"


# What a sound input looks like.


def _argument_seeds() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [rng.bytes(120) for _ in range(8)] + [b"", b"\xff" * 64]


def _made_record() -> ImageRecord:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (3, 2))
    regions = Regions.of_boxes((99, 99), np.concatenate([low, low + 20], axis=1), np.arange(3))
    cells = StoredMap("e16", rng.integers(0, 256, (3, 2, 4), dtype=np.uint8), (16.0, 16.5))
    return ImageRecord(regions, rng.integers(-90, 90, (3, 8), dtype=np.int8), (cells,))


def _record_seeds() -> list[bytes]:
    return [_made_record().to_bytes()]


def _map_seeds() -> list[bytes]:
    return [maps_to_bytes(_made_record().maps), maps_to_bytes(())]


def _basis_seeds() -> list[bytes]:
    from claid_ext.descriptors.basis import Basis

    cells = np.random.default_rng(0).normal(size=(400, 20)).astype(np.float32)
    return [Basis.fit([cells], dims=[8], network="00" * 32).to_bytes()]


def _tree_seeds() -> list[bytes]:
    features = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    made = claid_ext.detect(features, (5, 6), min_patches=2)
    arrays = {
        "format": "claid_ext.RegionTree", "format_version": 1, "grid": np.array(made.grid),
        **{name: getattr(made, name) for name in made.__dataclass_fields__ if name != "grid"},
    }  # fmt: skip
    np.savez(file := io.BytesIO(), **arrays)  # not compressed: flips get to the arrays
    return [file.getvalue()]


def _manifest_seeds() -> list[bytes]:
    content = {"format": "claid_ext.InstanceIndex", "regions": {}, "descriptor": {}, "pca": None}
    return [json.dumps({**content, "version": version}).encode() for version in (1, 2, 3, "x")]


def _table_seeds() -> list[bytes]:
    import tempfile

    from claid_ext.index import EmbeddedStore, Entry

    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder), dim=8)
        store.upsert([Entry(f"/i/{i}", _made_record(), (1, i)) for i in range(3)])
        store.close()
        with sqlite3.connect(Path(folder) / "records.sqlite") as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return [(Path(folder) / "records.sqlite").read_bytes()]


def _weight_seeds() -> list[bytes]:
    import torch
    from safetensors.torch import save

    torch.save({"a": torch.zeros(2)}, file := io.BytesIO())
    return [b"\0" + file.getvalue(), b"\1" + save({"a": torch.zeros(2)}), b"\2\x08\x07"]


def _truth_seeds() -> list[bytes]:
    import pickle

    coco = {
        "images": [{"id": 1, "file_name": "a.png", "height": 9, "width": 9}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]}],
        "categories": [{"id": 1, "name": "cup"}],
    }
    truth = {"imlist": ["a"], "qimlist": ["a"], "gnd": [{"easy": [0], "bbx": [0, 0, 2, 2]}]}
    return [
        b"\0" + json.dumps(truth).encode(),
        b"\1" + pickle.dumps(truth),
        b"\3" + json.dumps(coco).encode(),
    ]


def _picture_seeds() -> list[bytes]:
    from PIL import Image

    made = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    seeds = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        made.save(file := io.BytesIO(), kind)
        seeds.append(file.getvalue())
    return seeds


_ARGUMENTS = (ValueError, TypeError)
_TORCH = ("torch", "safetensors", "onnx")

TARGETS: dict[str, Target] = {
    "detect": Target(detect, _argument_seeds, _ARGUMENTS),
    "core_detect": Target(core_detect, _argument_seeds, _ARGUMENTS),
    "boxes": Target(boxes, _argument_seeds, _ARGUMENTS),
    "record": Target(record, _record_seeds),
    "maps": Target(maps, _map_seeds),
    "basis": Target(basis, _basis_seeds, needs=("faiss",)),
    "sealed_record": Target(sealed_record, _record_seeds),
    "sealed_maps": Target(sealed_maps, _map_seeds),
    "sealed_basis": Target(sealed_basis, _basis_seeds, needs=("faiss",)),
    "tree": Target(tree, _tree_seeds),
    "manifest": Target(manifest, _manifest_seeds),
    "table": Target(table, _table_seeds, needs=("faiss",)),
    "weights": Target(weights, _weight_seeds, needs=_TORCH),
    "ground_truth": Target(
        ground_truth, _truth_seeds, (ValueError, FileNotFoundError), needs=("torch", "scipy")
    ),
    "picture": Target(picture, _picture_seeds, expected=(ClaidError,), needs=("PIL",)),
}


def run(name: str, content: bytes, folder: Path) -> str:
    """Run a target; returns the name of the expected error, or "fine"."""
    target = TARGETS[name]
    for path in folder.iterdir():
        path.unlink()
    try:
        target.run(content, folder)
    except target.expected as error:
        if not str(error):
            raise AssertionError("an error says what is wrong") from error
        return type(error).__name__
    return "fine"
