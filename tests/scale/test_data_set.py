"""A data set: what is planned, extracted, changed and removed, wherever its files are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")
from claid_ext.errors import IndexLockedError, IndexMismatchError, InvalidIndexError
from claid_ext.index import EmbeddedStore
from claid_ext.record import ImageRecord, maps_from_bytes
from claid_ext.scale import DataSet, create, extract, load, plan, remove
from claid_ext.scale.dataset import Listed, image_numbers
from claid_ext.scale.files import Files, filesystem, uri_below
from claid_ext.scale.planning import listed
from claid_ext.scale.shard import run_shard
from claid_ext.scale.stores.catalog import Catalog, read_catalog, write_catalog
from made import DIM, MadeDescriber, made_photos
from ports import free_ports


def run_all(dataset):
    """Extract in this process."""
    describer = MadeDescriber()
    return [run_shard(dataset, shard, describer) for shard in dataset.planned()]


def live(folder, dataset):
    """The records of a data set by path, as a store shows them."""
    load(dataset, str(folder))
    store = EmbeddedStore(Path(folder))
    with store.reading() as view:
        records, maps = dict(view.records(view.table.ids)), dict(view.maps(view.table.ids))
        found = {
            path: ImageRecord(records[i].regions, records[i].vectors, maps.get(i, ())).to_bytes()
            for i, path in zip(view.table.ids.tolist(), view.table.paths, strict=True)
        }
    store.close()
    return found


def truth(photos):
    return {
        photo: record.to_bytes()
        for photo, record in zip(photos, MadeDescriber()(photos), strict=True)
    }


def test_every_photo_has_its_record_and_bad_ones_their_reasons(make, fifty):
    dataset = make(fifty)
    assert dataset.planned() == list(range(7))
    assert dataset.done() == []
    reports = run_all(dataset)
    assert sum(report.photos for report in reports) == 51
    ((bad, why),) = [one for report in reports for one in report.bad]
    assert bad == fifty[-1]
    assert "not an image" in why
    rows = [row for shard in dataset.done() for row in dataset.images(shard).to_pylist()]
    assert [row["uri"] for row in rows] == fifty
    assert [row["error"] for row in rows] == [None] * 50 + [why]
    numbers = [number for s in range(7) for number in image_numbers(s, 8).tolist()][:51]
    assert [row["image"] for row in rows] == numbers
    assert numbers[8] == 1 << 20
    for row, record in zip(rows, MadeDescriber()(fifty[:-1]), strict=False):
        shard = row["image"] >> 20
        content = dataset.files.read(f"records/part-{shard}.bin")[row["offset"] :]
        head, maps = content[: row["length"]], content[row["length"] :][: row["maps_length"]]
        read = ImageRecord.from_bytes(head)
        read = ImageRecord(read.regions, read.vectors, maps_from_bytes(maps) if maps else ())
        assert read.to_bytes() == record.to_bytes()
        assert (row["height"], row["width"], row["regions"]) == (12, 12, len(record))
        keys, images, vectors = dataset.vectors(shard)
        of_it = images == row["image"]
        assert keys[of_it].tolist() == [(row["image"] << 12) + i for i in range(len(record))]
        np.testing.assert_array_equal(vectors[of_it], record.unit_vectors)
    table = pq.read_table(Path(dataset.address) / "regions" / "part-0.parquet")
    assert table.schema.field("vector").type == pa.list_(pa.int8(), DIM)
    assert table["region"].to_pylist()[: rows[0]["regions"]] == list(range(rows[0]["regions"]))
    record = MadeDescriber()(fifty[:1])[0]
    assert table["box"].to_pylist()[0] == record.regions.boxes[0].tolist()


def test_running_again_does_what_is_missing_and_writes_the_same(make, fifty, content):
    dataset = make(fifty)
    run_all(dataset)
    before = content(dataset)
    assert len(before) == 21
    times = {name: (Path(dataset.address) / name).stat().st_mtime_ns for name in before}
    dataset.files.delete("images/part-3.parquet")
    assert dataset.done() == [0, 1, 2, 4, 5, 6]
    run_all(dataset)
    assert content(dataset) == before
    again = {name for name in before
             if (Path(dataset.address) / name).stat().st_mtime_ns != times[name]}  # fmt: skip
    assert sorted(again) == [
        "images/part-3.parquet",
        "records/part-3.bin",
        "regions/part-3.parquet",
    ]


def test_photos_are_appended_changed_and_removed_without_rebuilding(make, tmp_path):
    photos = made_photos(tmp_path / "p", 20)
    dataset = make(photos)
    run_all(dataset)
    folder = tmp_path / "index"
    assert live(folder, dataset) == truth(photos)
    assert plan(dataset, listed(photos)).present == 20
    assert len(dataset.planned()) == 3

    more = made_photos(tmp_path / "p", 5, first=20)
    Path(made_photos(tmp_path / "q", 1, first=99)[0]).replace(photos[4])
    report = plan(dataset, listed([*photos, *more]))
    assert (report.new, report.changed, report.present) == (5, 1, 19)
    old = live(folder, dataset)  # the older state counts until the new one has a record
    assert set(old) == set(photos)
    run_all(dataset)
    assert live(folder, dataset) == truth([*photos, *more])
    assert dataset.planned() == [0, 1, 2, 3]

    gone = [photos[3], photos[4], str(tmp_path / "never there")]
    assert remove(dataset, gone) == 2
    assert remove(dataset, gone) == 0
    left = [path for path in [*photos, *more] if path not in gone]
    assert live(folder, dataset) == truth(left)
    assert live(tmp_path / "from nothing", dataset) == truth(left)

    plan(dataset, listed([photos[4]]))  # and back again
    run_all(dataset)
    assert live(folder, dataset) == truth([*left, photos[4]])
    assert live(tmp_path / "from nothing", dataset) == truth([*left, photos[4]])

    Path(photos[0]).write_bytes(b"no photo any more")
    assert plan(dataset, listed(photos[:1])).changed == 1
    run_all(dataset)
    assert photos[0] in live(folder, dataset)  # as an index keeps it


def test_shards_may_be_done_in_any_order(make, tmp_path):
    """A newer state that is done before the older one takes its place all the same."""
    photos = made_photos(tmp_path / "p", 4)
    dataset = make(photos)
    Path(made_photos(tmp_path / "q", 1, first=99)[0]).replace(photos[1])
    plan(dataset, listed(photos))
    run_shard(dataset, 1, MadeDescriber())
    assert set(live(tmp_path / "index", dataset)) == {photos[1]}
    run_shard(dataset, 0, MadeDescriber())
    assert live(tmp_path / "index", dataset) == truth(photos)


def test_a_listing_names_photos(tmp_path, fifty):
    listing = str(tmp_path / "listing.parquet")
    pq.write_table(pa.table({"uri": fifty[:3], "bytes": [5, 6, 7], "modified": [1, 2, 3]}), listing)
    assert list(listed([listing])) == [
        Listed(uri, (5 + i, 1 + i)) for i, uri in enumerate(fifty[:3])
    ]
    pq.write_table(pa.table({"uri": fifty[:3], "other": [1, 2, 3]}), listing)
    assert list(listed([listing])) == list(listed(fifty[:3]))
    pq.write_table(pa.table({"path": fifty[:3]}), listing)
    with pytest.raises(ValueError, match="must have the column uri"):
        list(listed([listing]))


def test_wrong_data_sets_are_refused(make, fifty, tmp_path):
    dataset = make(fifty[:3])
    with pytest.raises(FileExistsError, match="is not empty"):
        create(dataset.address, MadeDescriber())
    with pytest.raises(InvalidIndexError, match=r"is no data set: it has no manifest\.json"):
        DataSet(str(tmp_path / "none"))
    for options, why in [({"batch": 0}, "batch"), ({"shard_photos": 0}, "shard_photos")]:
        with pytest.raises(ValueError, match=f"{why} must be at least 1"):
            create(str(tmp_path / "new"), MadeDescriber(), **options)
    with pytest.raises(ValueError, match="pca is for"):
        create(str(tmp_path / "new"), MadeDescriber(), pca=8)
    other = MadeDescriber()
    other.manifest = lambda: {**MadeDescriber().manifest(), "regions": {"name": "others"}}
    with pytest.raises(IndexMismatchError, match=r"regions name: the index has 'made', got 'oth"):
        extract(dataset, describer=other)
    with pytest.raises(ValueError, match="engine must be one of local, ray, got 'slurm'"):
        extract(dataset, engine="slurm")
    place = Path(dataset.address) / "manifest.json"
    good = json.loads(place.read_text())
    for bad, why in [("{", "damaged"), ('{"format": "x"}', "not the manifest of a data set"),
                     (json.dumps({**good, "version": 99}), "has version 99")]:  # fmt: skip
        place.write_text(bad)
        with pytest.raises(InvalidIndexError, match=why):
            DataSet(dataset.address)
    place.write_text(json.dumps(good))
    (Path(dataset.address) / "listing" / "part-0.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(InvalidIndexError, match=r"part-0\.parquet is damaged"):
        run_all(dataset)


def test_a_data_set_that_was_killed_while_it_was_made_is_made_again(tmp_path, make):
    place = tmp_path / "data"
    place.mkdir()
    (place / "basis.bin").write_bytes(b"of the killed one")
    (place / ".manifest.json.12-34.part").write_bytes(b"{")
    assert make([]).planned() == []


def test_a_catalog_is_what_was_written_or_an_error(tmp_path):
    files = Files(str(tmp_path))
    assert read_catalog(files, "stores/a.json") == Catalog(frozenset(), 0)
    catalog = Catalog(frozenset([0, 1, 2, 5, 7, 8]), 3)
    write_catalog(files, "stores/a.json", catalog)
    assert read_catalog(files, "stores/a.json") == catalog
    content = json.loads(files.read("stores/a.json"))
    assert content["shards"] == [[0, 2], [5, 5], [7, 8]]
    for wrong in ({**content, "version": 2}, {**content, "shards": [1]}, []):
        files.write("stores/a.json", json.dumps(wrong).encode())
        with pytest.raises(InvalidIndexError, match=r"a\.json cannot be read"):
            read_catalog(files, "stores/a.json")


def test_one_process_plans_and_one_extracts_at_a_time(make, fifty):
    dataset = make(fifty)
    with dataset.files.writing("listing"), pytest.raises(IndexLockedError):
        plan(dataset, listed(fifty))
    with dataset.files.writing("images"), pytest.raises(IndexLockedError):
        extract(dataset, describer=MadeDescriber())


def test_what_a_killed_writer_left_is_removed(make, fifty):
    dataset = make(fifty[:3])
    left = Path(dataset.address) / "images" / ".part-0.parquet.123-4.part"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert dataset.done() == []
    with dataset.files.writing("images"):
        assert not left.exists()


@pytest.fixture(scope="module")
def s3():
    """A bucket of moto's S3 server on loopback: how to get at a folder of it."""
    pytest.importorskip("moto.server", reason="moto's server is not installed")
    (port,) = free_ports(1)
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word"}
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c",
         f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"],
        env={**os.environ, **keys}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    query = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    fs = pyarrow.fs.S3FileSystem(
        access_key="key",
        secret_key="word",
        endpoint_override=f"127.0.0.1:{port}",
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    )
    for _ in range(600):
        try:
            fs.create_dir("bucket")
            break
        except OSError:
            time.sleep(0.1)
    yield lambda folder: f"s3://key:word@bucket/{folder}?{query}"
    server.kill()
    server.wait()


def test_an_object_store_holds_photos_and_data_sets(s3, make, fifty, tmp_path):
    fs, path = filesystem(s3("photos"))
    for photo in fifty:
        with fs.open_output_stream(f"{path}/{Path(photo).name}") as file:
            file.write(Path(photo).read_bytes())
    photos = list(listed([s3("photos")]))
    assert len(photos) == 51
    assert sum(photo.file[0] for photo in photos) == sum(Path(p).stat().st_size for p in fifty)
    assert list(listed([photos[3].uri])) == [photos[3]]
    dataset = create(s3("data"), MadeDescriber(), shard_photos=16)
    plan(dataset, photos)
    assert plan(dataset, photos).present == 51
    plan(dataset, [Listed(uri_below(s3("photos"), "bucket/photos/none.png"), (1, 1))])
    reports = run_all(dataset)
    assert [Path(uri.partition("?")[0]).name for report in reports for uri, _ in report.bad] == [
        "bad.png", "none.png"
    ]  # fmt: skip
    assert "word" not in dataset.files.shown("x")
    here = make(sorted(fifty), "here", shard_photos=16)
    run_all(here)
    for shard in here.done():
        name = f"records/part-{shard}.bin"
        assert dataset.files.read(name) == here.files.read(name)
    found = live(tmp_path / "index", DataSet(s3("data")))
    assert list(found.values()) == list(live(tmp_path / "index here", here).values())
    assert remove(dataset, [photos[1].uri]) == 1
    assert len(live(tmp_path / "index", dataset)) == 49


def test_a_place_that_cannot_be_reached_is_no_bad_photo(make, tmp_path):
    """Else a fault of the network would leave photos out for ever."""
    (port,) = free_ports(1)
    gone = f"s3://key:word@bucket/1.png?endpoint_override=127.0.0.1:{port}&scheme=http"
    dataset = create(str(tmp_path / "data"), MadeDescriber())
    plan(dataset, [Listed(gone + "&region=us-east-1", (1, 1))])
    with pytest.raises(OSError, match=r"."):
        run_all(dataset)
    assert dataset.done() == []


def test_files_are_whole_on_any_filesystem(tmp_path):
    """Where there is no single put, a file is written beside its place and moved there."""
    fs = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())
    files = Files(str(tmp_path))
    files._fs, files._root, files._kind = fs, "deep", fs.type_name
    files.write("a/part-1.bin", b"123")
    files.write("a/part-1.bin", b"4567")
    assert files.read("a/part-1.bin") == b"4567"
    assert files.read_ranges("a/part-1.bin", [(1, 2), (3, 9)]) == [b"56", b"7"]
    assert files.numbers("a") == [1]
    assert files.numbers("none") == []
    assert [path.name for path in (tmp_path / "deep" / "a").iterdir()] == ["part-1.bin"]
    with pytest.raises(ValueError, match="nothing://x cannot be opened"):
        Files("nothing://user:word@x")
