"""`load` and what is found afterwards: the same in a folder and on a Milvus server."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

pytest.importorskip("faiss")

from claid_ext.errors import IndexMismatchError, InvalidIndexError, StoreUnavailableError
from claid_ext.scale import load, plan, remove
from claid_ext.scale.planning import listed
from claid_ext.scale.shard import run_shard
from claid_ext.search import open_index
from made import DIM, MadeDescriber, made_photos
from servers import milvus_uri, own_server


@pytest.fixture(scope="module")
def uri():
    return milvus_uri()


@pytest.fixture
def extracted(make, tmp_path):
    """A data set of 120 photos in 15 shards, all done, and its photos."""
    photos = made_photos(tmp_path / "photos", 120)
    dataset = make(photos)
    run_all(dataset)
    return dataset, photos


def run_all(dataset):
    for shard in dataset.planned():
        run_shard(dataset, shard, MadeDescriber())


def server_store(uri, dataset, **more):
    from claid_ext.scale.stores.milvus import MilvusStore

    return MilvusStore(uri, dataset, **more)


def answers(index, queries, **options):
    """Every query's hits: image, box and level, and the score."""
    found = index.search_vectors([(query, False) for query in queries], **options)
    return [[(replace(hit, score=0.0, similarity=None), hit.score) for hit in its] for its in found]


def assert_same(some, others):
    """Equal scores, and equal hits in equal order but for ties."""
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose([s for _, s in one], [s for _, s in other], atol=1e-6)
        assert [hit for hit, _ in one] == [hit for hit, _ in other]


@pytest.mark.parametrize("index", ["FLAT", "IVF_SQ8"])
def test_a_server_answers_as_a_folder_does(extracted, uri, index, tmp_path):
    dataset, photos = extracted
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(12, 1, DIM)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=2, keepdims=True)
    folder, server = str(tmp_path / "index"), f"milvus:{uri}"

    def compare():
        for store in (folder, server):
            load(dataset, store, index="Flat" if store == folder else index)
        with open_index(folder) as one, open_index(server, dataset=dataset.address) as other:
            assert one.images == other.images
            assert one.regions_count == other.regions_count == other.store.rows()
            for options in (
                {"k": 1},
                {"k": 10},
                {"k": 200},
                {"k": 5, "min_size": 8.0},
                {"k": 5, "images": "*7.png"},
                {"k": 3, "images": photos[5:50]},
            ):
                assert_same(answers(one, queries, **options), answers(other, queries, **options))
            return set(one.images)

    assert compare() == set(photos)
    Path(made_photos(tmp_path / "q", 1, first=500)[0]).replace(photos[4])
    more = made_photos(tmp_path / "photos", 9, first=120)
    plan(dataset, listed([*photos, *more]))
    run_all(dataset)
    assert compare() == {*photos, *more}
    assert remove(dataset, [photos[0], photos[4], more[1]]) == 3
    assert compare() == {*photos, *more} - {photos[0], photos[4], more[1]}
    server_store(uri, dataset).drop()


def test_loading_again_does_what_is_missing(extracted, uri):
    dataset, _ = extracted
    address = f"milvus:{uri}"
    assert load(dataset, address).shards == 15
    report = load(dataset, address)
    assert (report.shards, report.present) == (0, 15)
    store = server_store(uri, dataset)
    wanted = np.concatenate([dataset.vectors(shard).keys for shard in dataset.done()])
    assert sorted(held_keys(store)) == wanted.tolist()
    first = dataset.vectors(0)
    store._collection.insert([*first])  # rows twice
    store._collection.delete(f"key in {dataset.vectors(3).keys[:2].tolist()}")  # and too few
    report = load(dataset, address)
    assert (report.shards, report.present) == (2, 13)
    assert sorted(held_keys(store)) == wanted.tolist()
    store.drop()


def held_keys(store):
    found = store._collection.query("key >= 0", ["key"], consistency_level="Strong", limit=16384)
    return [row["key"] for row in found]


def test_wrong_stores_are_refused(extracted, make, uri, tmp_path):
    dataset, photos = extracted
    with pytest.raises(InvalidIndexError, match=r"has no collection claid_.*: run `claid load`"):
        open_index(f"milvus:{uri}", dataset=dataset.address)
    with pytest.raises(ValueError, match="dataset must say where their records are"):
        open_index(f"milvus:{uri}")
    with pytest.raises(ValueError, match="got the folder there"):
        open_index("there", dataset=dataset.address)
    with pytest.raises(ValueError, match="index must be one of IVF_SQ8, FLAT, got 'HNSW'"):
        load(dataset, f"milvus:{uri}", index="HNSW")
    with pytest.raises(StoreUnavailableError, match="the Milvus server"):
        server_store("http://127.0.0.1:9", dataset, timeout=1)
    load(dataset, str(tmp_path / "index"))
    other = make(photos[:3], "other")
    run_all(other)
    with pytest.raises(IndexMismatchError, match="has records of another data set"):
        load(other, str(tmp_path / "index"))


_LOADER = """
    import sys
    from claid_ext.scale import DataSet, load
    print("begun", flush=True)
    load(DataSet(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("kind", ["server", "folder"])
def test_a_load_that_is_killed_is_gone_on_with(kind, extracted, tmp_path, request):
    dataset, _ = extracted
    address = str(tmp_path / "index")
    if kind == "server":
        address = f"milvus:{request.getfixturevalue('uri')}"
    rng = np.random.default_rng(1)
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(_LOADER), dataset.address,
             address], stdout=subprocess.PIPE,
        ) as loader:  # fmt: skip
            loader.stdout.readline()
            time.sleep(rng.uniform(0.5, 3))
            loader.kill()
    load(dataset, address)
    check_all(dataset, address)


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_server_that_is_killed_while_loading(extracted, uri, monkeypatch):
    """Whoever loads gets an error; started again, it goes on, and nothing is lost or doubled."""
    from claid_ext.scale.stores.milvus import MilvusStore

    server, (dataset, _), insert = own_server(), extracted, MilvusStore._insert
    killer = threading.Timer(np.random.default_rng().uniform(0, 0.05), server.kill)

    def killing(store, shard, images):
        if shard == 6:
            killer.start()
            store._timeout = 10
        if shard > 6:
            killer.join()
        insert(store, shard, images)

    monkeypatch.setattr(MilvusStore, "_insert", killing)
    with pytest.raises(StoreUnavailableError, match="the Milvus server"):
        load(dataset, f"milvus:{uri}")
    killer.join()
    monkeypatch.undo()
    server.start()
    report = load(dataset, f"milvus:{uri}")
    assert report.shards + report.present == 15
    check_all(dataset, f"milvus:{uri}")


def check_all(dataset, address):
    server = address.startswith("milvus:")
    with open_index(address, dataset=dataset.address if server else None) as index:
        counts = [sum(dataset.images(shard)["regions"].to_pylist()) for shard in dataset.done()]
        assert index.regions_count == sum(counts)
        assert len(index.images) == len(set(index.images)) == 120
        with index.store.reading() as view:
            assert len(dict(view.records(view.table.ids))) == 120
        if server:
            assert index.store.rows() == sum(counts)
            keys = held_keys(index.store)
            assert len(set(keys)) == len(keys) == sum(counts)
            index.store.drop()


def test_a_data_set_that_two_stores_hold_keeps_both_apart(extracted, uri, tmp_path):
    dataset, photos = extracted
    load(dataset, f"milvus:{uri}")
    with open_index(f"milvus:{uri}", dataset=dataset.address) as index:
        more = made_photos(tmp_path / "photos", 3, first=900)
        plan(dataset, listed(more))
        run_all(dataset)
        load(dataset, str(tmp_path / "index"))
        assert set(index.images) == set(photos)  # until it is loaded there as well
        load(dataset, f"milvus:{uri}")
        assert set(index.images) == {*photos, *more}
        index.store.drop()
