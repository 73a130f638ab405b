"""Files of a data set, and listings, that were damaged or are of another kind."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")
import pyarrow as pa
import pyarrow.parquet as pq
from claid_ext.errors import DamagedRecordError, InvalidIndexError
from claid_ext.scale import DataSet
from claid_ext.scale.dataset import Listed
from claid_ext.scale.planning import listed
from claid_ext.scale.shard import run_shard
from claid_ext.scale.stores.record_files import RecordFiles
from made import MadeDescriber

KINDS = ("listing", "images", "regions", "removed", "records")


@pytest.fixture(scope="module")
def sound(tmp_path_factory, fifty):
    """A data set of some photos, one of them bad, and one removed."""
    from claid_ext.scale import create, plan

    dataset = create(str(tmp_path_factory.mktemp("sound") / "data"), MadeDescriber())
    plan(dataset, listed([*fifty[:5], fifty[-1]]))
    run_shard(dataset, 0, MadeDescriber())
    dataset.add_removed([2])
    return dataset


def read(address, kind):
    """Everything that a kind of file says."""
    dataset = DataSet(address)
    if kind == "listing":
        return dataset.listing(0)
    if kind == "images":
        return dataset.images(0).to_pylist()
    if kind == "regions":
        return [column.tobytes() for column in dataset.vectors(0)]
    if kind == "removed":
        return dataset.removed().tolist()
    view = RecordFiles(dataset).view([0], 0)
    records = [(image, record.to_bytes()) for image, record in view.records(view.table.ids)]
    return records, [(image, maps) for image, maps in view.maps(view.table.ids)]


def outcome(address, kind):
    """What it says, or the error that it is damaged."""
    try:
        return read(address, kind)
    except (InvalidIndexError, DamagedRecordError) as error:
        return str(error)


def part(dataset, kind):
    (path,) = (Path(dataset.address) / kind).glob("part-0.*")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_changes_what_is_read(sound, kind):
    path, wanted = part(sound, kind), read(sound.address, kind)
    content = path.read_bytes()
    counts = Counter()
    try:
        for bit in np.random.default_rng(0).integers(0, 8 * len(content), 150).tolist():
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            found = outcome(sound.address, kind)
            assert found == wanted or str(path) in found, bit
            counts["the same" if found == wanted else "an error"] += 1
    finally:
        path.write_bytes(content)
    assert counts["the same"] < 20  # flips in the words by which a checksum is known as one


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_cut_short_are_errors(sound, kind):
    path = part(sound, kind)
    content = path.read_bytes()
    try:
        for length in [0, 3, 4, len(content) // 2, len(content) - 9, len(content) - 1]:
            path.write_bytes(content[:length])
            with pytest.raises((InvalidIndexError, DamagedRecordError), match="damaged"):
                read(sound.address, kind)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "table", "why"),
    [
        ("listing", {"image": [0]}, "wanted one column uri, got"),
        ("removed", {"image": ["0"]}, "the column image is of the type string"),
        ("removed", {"image": [0, None]}, "the column image has nulls"),
        ("regions", {"key": [0], "image": [0], "vector": [[0.0]]}, "vector is of the type list"),
    ],
)
def test_other_columns_are_errors(sound, kind, table, why):
    path = part(sound, kind)
    content = path.read_bytes()
    try:
        pq.write_table(pa.table(table), path)
        with pytest.raises(InvalidIndexError, match=why):
            read(sound.address, kind)
    finally:
        path.write_bytes(content)


def test_a_listing_may_have_other_types_that_mean_the_same(tmp_path):
    listing = str(tmp_path / "listing.parquet")
    when = datetime(2026, 1, 2)
    table = {
        "modified": pa.array([when, None], pa.timestamp("us")),
        "bytes": pa.array([5, 6], pa.int32()),
        "uri": pa.array(["/a.jpg", "/b.jpg"]).dictionary_encode(),
    }
    pq.write_table(pa.table(table), listing)
    micros = int((when - datetime(1970, 1, 1)).total_seconds()) * 10**6
    assert list(listed([listing])) == [Listed("/a.jpg", (5, micros)), Listed("/b.jpg", (6, 0))]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"uri": ["/a.jpg", None]}, "a row has no uri"),
        ({"uri": [["/a.jpg"]]}, "Unsupported cast from list"),
        ({"uri": ["/a.jpg"], "bytes": [0.5], "modified": [0]}, "was truncated"),
        ({"uri": ["/a.jpg"], "bytes": ["many"], "modified": [0]}, "Failed to parse"),
    ],
)
def test_a_listing_of_wrong_types_is_an_error_that_names_it(tmp_path, table, why):
    listing = str(tmp_path / "listing.parquet")
    pq.write_table(pa.table(table), listing)
    with pytest.raises(ValueError, match=why) as raised:
        list(listed([listing]))
    assert listing in str(raised.value)


def test_a_listing_that_is_damaged_is_an_error_that_names_it(tmp_path):
    listing = tmp_path / "listing.parquet"
    listing.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ValueError, match=r"listing\.parquet"):
        list(listed([str(listing)]))
