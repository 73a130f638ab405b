"""Fuzzing of files: every kind that is read."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from unittest import mock

import claid_ext
import numpy as np
from bits import Bits
from claid_ext.blocks import DIGEST_BYTES
from claid_ext.record import ImageRecord, maps_from_bytes, maps_to_bytes


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


def found_regions(content: bytes, folder: Path) -> None:
    """Regions that another detector found: data sets, results with and without names, folders."""
    from claid_ext.images import Photo
    from claid_ext.regions.from_file import FileRegions
    from PIL import Image

    kind = Bits(content[:1]).choice(["set", "results", "named", "folder"])
    (folder / "found").mkdir()
    (path := folder / "found" / "a.json").write_bytes(content[1:])
    images = None
    if kind == "results":
        (images := folder / "images.json").write_text(
            '{"images": [{"id": 1, "file_name": "a.png", "height": 9, "width": 12}]}'
        )
    source = FileRegions(path.parent if kind == "folder" else path, images, masks=True)
    photo = Photo(Image.new("RGB", (12, 9)), str(folder / "a.png"))
    (found,) = source([photo])
    boxes = found.boxes
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= [12, 9]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert np.isfinite(found.size).all()
    assert (found.size > 0).all()
    if found.masks is not None:
        assert found.masks.any(axis=(1, 2)).all()


def _read_listing(path: Path) -> None:
    """Read one; what a photo's address leads to is not asked."""
    from claid_ext.scale import planning

    with mock.patch.object(planning, "_state", lambda uri: (len(uri), 0)):
        for photo in planning.listed([str(path)]):
            assert isinstance(photo.uri, str)
            assert [type(number) for number in photo.file] == [int, int]


def listing(content: bytes, folder: Path) -> None:
    """A table of photos, in Parquet."""
    (path := folder / "photos.parquet").write_bytes(content)
    _read_listing(path)


def listed_columns(content: bytes, folder: Path) -> None:
    """A sound Parquet file with any columns: wrong names, types and nulls."""
    import pyarrow as pa
    import pyarrow.parquet

    bits = Bits(content)
    rows = bits.integer(0, 3)
    numbers = [bits.often(bits.integer(0, 2**40), [None, -1]) for _ in range(rows)]
    names = [bits.often(f"/photos/{i}.jpg", [None, "", "s3://b/a.png", "\0"]) for i in range(rows)]
    kinds = [
        pa.array(numbers, pa.int64()),
        pa.array(numbers, pa.float64()),
        pa.array(numbers, pa.timestamp("us")),
        pa.array(names, pa.string()),
        pa.array(names, pa.large_string()),
        pa.array(names, pa.string()).dictionary_encode(),
        pa.array([None if name is None else name.encode() for name in names], pa.binary()),
        pa.array([[number] for number in numbers], pa.list_(pa.int64())),
        pa.nulls(rows),
    ]
    columns = {
        bits.often("uri", ["Uri", "url"]): bits.often(kinds[3], kinds),
        bits.often("bytes", ["size"]): bits.often(kinds[0], kinds),
        bits.often("modified", ["mtime"]): bits.often(kinds[0], kinds),
    }
    pyarrow.parquet.write_table(pa.table(columns), path := folder / "photos.parquet")
    _read_listing(path)


def data_set(content: bytes, folder: Path) -> None:
    """Each kind of Parquet file of a data set, damaged or in another's place."""
    from claid_ext.scale.dataset import DataSet
    from claid_ext.scale.stores.record_files import RecordFiles, live_images

    (folder / "manifest.json").write_text(
        '{"format": "claid_ext.DataSet", "version": 1, "dim": 8, "basis": null}'
    )
    kind = Bits(content[:1]).choice(["listing", "images", "regions", "removed"])
    (folder / kind).mkdir()
    # Without its checksum: so the fuzzer gets behind it.
    unsealed = content[1:].replace(b"claid_ext:blake2b:", b"claid_ext:nothing:")
    (folder / kind / "part-0.parquet").write_bytes(unsealed)
    dataset = DataSet(str(folder))
    if kind == "listing":
        assert all(isinstance(row.uri, str) for row in dataset.listing(0))
    elif kind == "images":
        images, counts = live_images(dataset, 0, np.empty(0, np.int64))
        assert len(images) == len(counts)
        assert len(RecordFiles(dataset).view([0], 0).file_states()) <= len(images)
    elif kind == "regions":
        rows = dataset.vectors(0)
        assert rows.vectors.shape == (len(rows.keys), 8) == (len(rows.images), 8)
    else:
        assert dataset.removed().ndim == 1
