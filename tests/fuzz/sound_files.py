"""Sound files: what fuzzing begins with."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path

import claid_ext
import numpy as np
from claid_ext._coco import encode_runs
from claid_ext.record import CellMap, ImageRecord, maps_to_bytes
from claid_ext.regions.value import Regions


def made_record() -> ImageRecord:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (3, 2))
    regions = Regions.of_boxes((99, 99), np.concatenate([low, low + 20], axis=1), np.arange(3))
    cells = CellMap("e16", rng.integers(0, 256, (3, 2, 4), dtype=np.uint8), (16.0, 16.5))
    return ImageRecord(regions, rng.integers(-90, 90, (3, 8), dtype=np.int8), (cells,))


def record_seeds() -> list[bytes]:
    return [made_record().to_bytes()]


def map_seeds() -> list[bytes]:
    return [maps_to_bytes(made_record().maps), maps_to_bytes(())]


def basis_seeds() -> list[bytes]:
    from claid_ext.descriptors.basis import Basis

    cells = np.random.default_rng(0).normal(size=(400, 20)).astype(np.float32)
    return [Basis.fit([cells], dims=[8], network="00" * 32).to_bytes()]


def tree_seeds() -> list[bytes]:
    features = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    made = claid_ext.detect(features, (5, 6), min_patches=2)
    arrays = {
        "format": "claid_ext.RegionTree", "format_version": 1, "grid": np.array(made.grid),
        **{name: getattr(made, name) for name in made.__dataclass_fields__ if name != "grid"},
    }  # fmt: skip
    np.savez(file := io.BytesIO(), **arrays)  # not compressed: flips get to the arrays
    return [file.getvalue()]


def manifest_seeds() -> list[bytes]:
    content = {"format": "claid_ext.InstanceIndex", "regions": {}, "descriptor": {}, "pca": None}
    return [json.dumps({**content, "version": version}).encode() for version in (1, 2, 3, "x")]


def table_seeds() -> list[bytes]:
    import tempfile

    from claid_ext.index import EmbeddedStore, Entry

    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder), dim=8)
        store.upsert([Entry(f"/i/{i}", made_record(), (1, i)) for i in range(3)])
        store.close()
        with sqlite3.connect(Path(folder) / "records.sqlite") as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return [(Path(folder) / "records.sqlite").read_bytes()]


def weight_seeds() -> list[bytes]:
    import torch
    from safetensors.torch import save

    torch.save({"a": torch.zeros(2)}, file := io.BytesIO())
    return [b"\0" + file.getvalue(), b"\1" + save({"a": torch.zeros(2)}), b"\2\x08\x07"]


def truth_seeds() -> list[bytes]:
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


def picture_seeds() -> list[bytes]:
    from PIL import Image

    made = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    seeds = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        made.save(file := io.BytesIO(), kind)
        seeds.append(file.getvalue())
    return seeds


def found_seeds() -> list[bytes]:
    """What CutLER, detectron2 and Segment Anything write."""
    runs = {"size": [9, 12], "counts": [9, 3, 6, 3, 87]}
    outline = [[2, 1, 8, 1, 8, 5, 2, 5]]
    one = {"bbox": [1, 1, 3, 3], "score": 0.5, "segmentation": runs}
    other = {"segmentation": outline, "area": 24, "score": 0.9}
    packed = {"segmentation": {**runs, "counts": encode_runs(np.array(runs["counts"]))}}
    image = {"id": 1, "file_name": "a.png", "height": 9, "width": 12}
    regions = [{"image_id": 1, "category_id": 1, **its} for its in (one, other)]
    named = [{"image_id": "a.png", **its} for its in (one, other)]
    contents = [
        (0, {"images": [image], "annotations": regions}),
        (1, regions),
        (2, named),
        (3, [one, other]),
        (3, {"image": image, "annotations": [packed]}),
    ]
    return [bytes([kind]) + json.dumps(content).encode() for kind, content in contents]


def _parquet(columns: dict[str, list[object]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table(columns), file := io.BytesIO(), compression="none")
    return file.getvalue()


def listing_seeds() -> list[bytes]:
    """Listings with and without the states of the files."""
    uri = ["/photos/0.jpg", "/photos/1.jpg"]
    return [_parquet({"uri": uri, "bytes": [1, 2], "modified": [3, 4]}), _parquet({"uri": uri})]


def part_seeds() -> list[bytes]:
    """The Parquet files of a data set of one photo."""
    import tempfile

    from claid_ext.scale.dataset import DataSet, Listed

    manifest = {"format": "claid_ext.DataSet", "version": 1, "dim": 8, "basis": None}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "manifest.json").write_text(json.dumps(manifest))
        made = DataSet(folder)
        made.add_listing(0, [Listed("/i/0", (1, 2)), Listed("/i/1", (1, 2))], [[], []])
        made.write_shard(0, made.listing(0), [made_record(), "unreadable"])
        made.add_removed([0])
        kinds = ("listing", "images", "regions", "removed")
        parts = [Path(folder) / kind / "part-0.parquet" for kind in kinds]
        return [bytes([kind]) + path.read_bytes() for kind, path in enumerate(parts)]
