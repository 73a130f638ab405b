"""What every store must do, whatever it is made of: one suite, each kind of `stores.KINDS`."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("faiss")

from claid_ext.errors import IndexLockedError
from claid_ext.index import Candidates, ImageTable
from claid_ext.index.ranking import Scope, VectorQuery, rank_everything, rank_images
from claid_ext.record import ImageRecord, maps_to_bytes
from claid_ext.regions.value import Regions
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import DIM, KINDS, asked, entry, record, unit

EVERYTHING = 10**6
POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX limits and signals")


@pytest.fixture(params=list(KINDS))
def kind(request):
    with KINDS[request.param].in_use() as kind:
        yield kind


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(kind, place):
    store = kind.make(place)
    yield store
    store.close()


def content(store):
    """All that a store holds, by path: bytes of the record, bytes of the maps."""
    with store.reading() as view:
        table = view.table
        records, maps = dict(view.records(table.ids)), dict(view.maps(table.ids))
        assert sorted(records) == table.ids.tolist()
        assert [len(records[i]) for i in table.ids.tolist()] == table.counts.tolist()
        return {
            path: (records[i].to_bytes(), maps_to_bytes(maps.get(i, ())))
            for i, path in zip(table.ids.tolist(), table.paths, strict=True)
        }


def wanted_content(entries):
    return {
        one.path: (one.record.without_maps().to_bytes(), maps_to_bytes(one.record.maps))
        for one in entries
    }


def brute_force(entries, query):
    """Each image's best score for a query, by path."""
    return {
        one.path: query.combine((one.record.unit_vectors @ query.vectors.T).max(axis=0))
        for one in entries
        if len(one.record)
    }


def ranking(view, query, k, images=None):
    scope = Scope(np.ones(len(view.table.ids), bool) if images is None else images)
    (best,) = rank_images([query], k, view, scope)
    names = dict(zip(view.table.ids.tolist(), view.table.paths, strict=True))
    return [(names[one.image], one.score) for one in best]


def assert_ranked(found, truth, k, *, exact):
    """Whether k distinct images were found, their scores true; the best k where that is sure."""
    assert len({path for path, _ in found}) == len(found) == min(k, len(truth))
    scores = [score for _, score in found]
    np.testing.assert_allclose(scores, [truth[path] for path, _ in found], atol=2e-6)
    assert scores == sorted(scores, reverse=True)
    if exact:
        np.testing.assert_allclose(scores, sorted(truth.values(), reverse=True)[:k], atol=2e-6)


def test_a_new_store_is_empty(store):
    assert content(store) == {}
    assert store.file_states() == {}
    assert not store.holds("/i/1")
    assert store.get("anything") is None
    assert store.delete_images(["/i/1"]) == 0
    with store.reading() as view:
        (none,) = view.candidates(asked(0), 5, 1)
        assert (len(none.images), len(none.scores), none.exhausted) == (0, 0, True)
        assert ranking(view, VectorQuery(asked(0)), 3) == []
        assert [part.shape for part in rank_everything([VectorQuery(asked(0))], view)] == [
            (1, 0), (1, 0, 4)
        ]  # fmt: skip
    store.settle()
    store.settle(whole=True)
    assert content(store) == {}


def test_what_is_stored_comes_back(store, kind, place):
    entries = [entry(i, rows=i % 7, codes=i % 4 == 3) for i in range(40)]
    assert any(one.record.maps for one in entries)
    store.upsert(entries[:30])
    store.upsert([])
    store.settle()
    store.upsert(entries[30:])
    for _ in range(2):
        assert content(store) == wanted_content(entries)
        assert list(content(store)) == [one.path for one in entries]  # in the order they were added
        assert store.file_states() == {one.path: one.file for one in entries}
        assert store.holds("/i/39")
        assert not store.holds("/i/40")
        with store.reading() as view:
            assert view.table.ids.dtype == view.table.counts.dtype == np.int64
            assert (np.diff(view.table.ids) > 0).all()
            assert list(view.records(np.array([-1, EVERYTHING]))) == []
            assert list(view.maps(np.array([-1, EVERYTHING]))) == []
            some = view.table.ids[[5, 2]]
            assert {image for image, _ in view.records(some)} == {*some.tolist()}
        store.close()
        store = kind.open(place)
    store.close()


def test_a_replaced_image_is_the_new_one_alone(store):
    store.upsert([entry(i) for i in range(20)])
    store.settle()
    with store.reading() as view:
        before = dict(zip(view.table.paths, view.table.ids.tolist(), strict=True))
    new = [entry(4, seed="new", rows=3), entry(19, seed="also new", rows=9)]
    store.upsert([entry(4, seed="in between"), *new])
    entries = [entry(i) for i in range(20) if i not in {4, 19}] + new
    assert content(store) == wanted_content(entries)
    assert store.file_states()["/i/4"] == new[0].file
    with store.reading() as view:
        after = dict(zip(view.table.paths, view.table.ids.tolist(), strict=True))
        assert min(after["/i/4"], after["/i/19"]) > max(before.values())
        assert list(view.records(np.array([before["/i/4"]]))) == []
        for old in (entry(4).record, record("in between")):
            query = VectorQuery(old.vectors[:1])
            found = ranking(view, query, EVERYTHING)
            assert_ranked(found, brute_force(entries, query), EVERYTHING, exact=True)
            assert found[0][1] < 0.999
        found = ranking(view, VectorQuery(new[0].record.vectors[1:2]), 1)
        assert found == [("/i/4", pytest.approx(1, abs=1e-5))]


def test_removed_images_are_not_found_and_their_numbers_not_used_again(store, kind, place):
    entries = [entry(i) for i in range(20)]
    store.upsert(entries)
    store.settle()
    with store.reading() as view:
        last = int(view.table.ids[-1])
    gone = ["/i/3", "/i/19", "/i/18"]
    assert store.delete_images([*gone, "/i/3", "/i/none"]) == 3
    left = [one for one in entries if one.path not in gone]
    assert content(store) == wanted_content(left)
    assert not store.holds("/i/19")
    query = VectorQuery(entries[3].record.vectors[:1])
    with store.reading() as view:
        alive = {-1, *view.table.ids.tolist()}
        for candidates in view.candidates(query.vectors, EVERYTHING, EVERYTHING):
            assert alive.issuperset(candidates.images.tolist())
        found = ranking(view, query, EVERYTHING)
        assert_ranked(found, brute_force(left, query), EVERYTHING, exact=True)
    store.close()
    store = kind.open(place)
    store.settle(whole=True)
    assert content(store) == wanted_content(left)
    store.upsert(entries[3:4])
    with store.reading() as view:
        assert view.table.ids[-1] > last
        assert ranking(view, query, 1) == [("/i/3", pytest.approx(1, abs=1e-5))]
    assert store.delete_images([one.path for one in entries]) == 18
    assert content(store) == {}
    store.close()


@pytest.mark.parametrize("codes", [False, True])
def test_candidates_are_the_nearest_vectors(store, kind, codes):
    entries = [entry(i, rows=i % 6, codes=codes) for i in range(60)]
    store.upsert(entries[:50])
    store.settle()
    store.delete_images(["/i/7"])
    store.upsert(entries[50:])
    entries.pop(7)
    queries = asked(1, 3)
    with store.reading() as view:
        assert view.exact == kind.exact
        number = dict(zip(view.table.paths, view.table.ids.tolist(), strict=True))
        owners = np.repeat([number[one.path] for one in entries], [len(e.record) for e in entries])
        rows = np.concatenate([one.record.unit_vectors for one in entries])
        for count, effort in [(1, 1), (10, 1), (10, 4), (len(rows) + 99, EVERYTHING)]:
            for query, its in zip(queries, view.candidates(queries, count, effort), strict=True):
                assert its.images.dtype == np.int64
                assert its.images.shape == its.scores.shape
                assert len(its.images) <= count
                assert {-1, *owners.tolist()}.issuperset(its.images.tolist())
                assert (np.diff(its.scores) <= 0).all()
                alive = its.images >= 0
                scores = rows @ query
                if kind.exact and its.exhausted:
                    assert alive.sum() == len(rows)
                # Approximate scores are near to true ones; SQ8 is good for 1e-2.
                close = 2e-6 if kind.exact else 0.05
                for image, score in zip(its.images[alive], its.scores[alive], strict=True):
                    assert np.abs(scores[owners == image] - score).min() < close
                if count > len(rows):
                    assert its.exhausted
                    assert sorted(its.images[alive]) == sorted(owners)
                elif kind.exact:
                    best = np.sort(scores)[::-1][: int(alive.sum())]
                    np.testing.assert_allclose(its.scores[alive], best, atol=2e-6)


def test_a_burst_of_near_copies_leaves_room_for_other_images(store, kind):
    """Eight images of thirty near-copies each: the nearest 240 vectors are of 8 images alone."""
    rng = np.random.default_rng(3)
    thing = asked(3)
    entries = [entry(i) for i in range(40)]
    for i in range(8):
        near = unit(thing + 0.01 * rng.normal(size=(30, DIM)))
        regions = Regions.of_boxes((99, 99), [[0, 0, 1 + j, 9] for j in range(30)])
        entries.append(entry(f"burst {i}")._replace(record=ImageRecord(regions, near)))
    rng.shuffle(entries)
    store.upsert(entries)
    store.settle()
    for k in (1, 8, 12, 30, 48, 100):
        query = VectorQuery(thing)
        with store.reading() as view:
            found = ranking(view, query, k)
            assert_ranked(found, brute_force(entries, query), k, exact=kind.exact)
        assert all("burst" in path for path, _ in found[:8])


def test_ranking_in_scope(store, kind):
    entries = [entry(i) for i in range(60)]
    store.upsert(entries)
    store.settle()
    for all_of in (False, True):
        query = VectorQuery(asked(5, 3), all_of)
        with store.reading() as view:
            images = np.arange(60) % 5 == 2
            found = ranking(view, query, 4, images)
        truth = brute_force(entries[2::5], query)
        assert_ranked(found, truth, 4, exact=kind.exact)


def test_a_view_stays_still_while_another_writes(store, kind, place):
    entries = [entry(i) for i in range(30)]
    store.upsert(entries)
    store.settle()
    query = VectorQuery(asked(7, 2))
    other = kind.open(place)
    try:
        with store.reading() as view:
            before = ranking(view, query, EVERYTHING)
            paths, ids = list(view.table.paths), view.table.ids.copy()
            other.delete_images(["/i/0", "/i/29"])
            other.upsert([entry(i, seed="new") for i in (5, 50)])
            other.settle()
            assert view.table.paths == paths
            np.testing.assert_array_equal(view.table.ids, ids)
            assert ranking(view, query, EVERYTHING) == before
            assert len(dict(view.records(ids))) == 30
            with store.reading() as same:  # nested: the outer one's state
                assert same.table.paths == paths
        changed = [*entries[1:5], *entries[6:29], *(entry(i, seed="new") for i in (5, 50))]
        for one in (store, other):
            assert content(one) == wanted_content(changed)
            with one.reading() as view:
                found = ranking(view, query, EVERYTHING)
                assert_ranked(found, brute_force(changed, query), EVERYTHING, exact=True)
    finally:
        other.close()


def coded(entries, dim):
    """The same entries with vectors of another dimension."""
    return [
        one._replace(record=record(f"coded {one.path}", len(one.record), dim)) for one in entries
    ]


def test_recoding_replaces_all_or_nothing(store, kind, place):
    entries = [entry(i) for i in range(30)]
    store.upsert(entries)
    store.settle()
    with store.reading() as view:
        ids = view.table.ids.tolist()
    new = coded(entries, 5)

    def failing():
        for image, one in zip(ids[:20], new, strict=False):
            yield image, one.record
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        store.recode(failing(), {"basis": b"1"})
    some = [(image, one.record) for image, one in zip(ids[:20], new, strict=False)]
    other_count = [(ids[0], record("x", 6))]
    for wrong in (some, other_count, [(EVERYTHING, record("x"))]):
        with pytest.raises(ValueError, match=r"for every image|has 5 regions|no image 1000000"):
            store.recode(iter(wrong), {"basis": b"1"})
    assert store.get("basis") is None
    assert content(store) == wanted_content(entries)
    query = VectorQuery(asked(8))
    with store.reading() as view:
        found = ranking(view, query, EVERYTHING)
        assert_ranked(found, brute_force(entries, query), EVERYTHING, exact=True)

    state = {"basis": b"\0\xff", "number": -3, "name": "ü"}
    store.recode(((i, one.record) for i, one in zip(ids, new, strict=True)), state)
    store.upsert(coded([entry(30)], 5))
    entries = [*new, *coded([entry(30)], 5)]
    for _ in range(2):
        assert {name: store.get(name) for name in state} == state
        assert content(store) == wanted_content(entries)
        query = VectorQuery(asked(9, dim=5))
        with store.reading() as view:
            for k in (1, EVERYTHING):
                found = ranking(view, query, k)
                assert_ranked(found, brute_force(entries, query), k, exact=k > 1 or view.exact)
        store.settle()
        store.close()
        store = kind.open(place)
    store.recode(iter([]), {"name": None, "number": 4})
    assert (store.get("name"), store.get("number")) == (None, 4)
    store.close()


def test_entries_are_stored_all_or_none(store):
    store.upsert([entry(1)])
    wrong = entry(3)._replace(record=record("3", 5, DIM + 1))
    unfit = entry(4)._replace(record=ImageRecord(record(4).regions, record(4).vectors[:2]))
    for bad, why in ((wrong, "/i/3: vectors must be"), (unfit, "vectors must be")):
        with pytest.raises(ValueError, match=why):
            store.upsert([entry(2), entry(1, seed="new"), bad])
        assert content(store) == wanted_content([entry(1)])


def test_one_writes_at_a_time(store, kind, place):
    store.upsert([entry(i) for i in range(3)])
    other = kind.open(place)
    changes = [
        lambda: other.upsert([entry(9)]),
        lambda: other.delete_images(["/i/0"]),
        lambda: other.recode(iter([]), {"name": "x"}),
        other.settle,
        lambda: other.settle(whole=True),
        lambda: other.writing().__enter__(),
    ]
    try:
        with store.writing(), store.writing():
            for change in changes:
                with pytest.raises(IndexLockedError, match=f"written to by process {os.getpid()}"):
                    change()
            store.upsert([entry(3)])
            store.settle()
            assert len(content(other)) == 4  # reading needs no lock
        other.upsert([entry(4)])
        with pytest.raises(RuntimeError, match="mine"), store.writing():
            raise RuntimeError("mine")
        with other.writing():
            assert other.delete_images(["/i/0"]) == 1
        assert set(content(store)) == {f"/i/{i}" for i in range(1, 5)}
    finally:
        other.close()


class Doubtful(NamedTuple):
    """A view whose candidates are worse than the contract asks for, in one way."""

    real: object
    way: str

    @property
    def table(self) -> ImageTable:
        return self.real.table

    @property
    def exact(self) -> bool:
        return self.real.exact

    @property
    def score_error(self) -> float:
        return self.real.score_error

    def records(self, ids):
        return self.real.records(ids)

    def candidates(self, queries, count, effort):
        return [self.spoilt(its, i) for i, its in
                enumerate(self.real.candidates(queries, count, effort))]  # fmt: skip

    def spoilt(self, its, number):
        images, scores = its.images, its.scores
        if self.way == "fewer":
            part = slice(0, max(1, len(images) // 3))
            return Candidates(images[part], scores[part], False)
        if self.way == "none for some":
            part = slice(0, len(images) if number % 2 else 0)
            return Candidates(images[part], scores[part], False)
        if self.way == "doubled":
            return Candidates(images.repeat(2)[: len(images)], scores.repeat(2)[: len(scores)],
                              False)  # fmt: skip
        stale = np.where(np.arange(len(images)) % 3 == 0, EVERYTHING, images)
        stale[1::3] = -1
        return Candidates(stale, scores, its.exhausted)


@pytest.mark.parametrize("way", ["fewer", "none for some", "doubled", "stale"])
@pytest.mark.parametrize("all_of", [False, True])
def test_ranking_is_right_whatever_is_proposed(store, kind, way, all_of):
    """A store may propose fewer rows than asked for, the same ones twice, or removed ones."""
    entries = [entry(i, rows=4 + i % 9) for i in range(150)]
    store.upsert(entries)
    store.settle()
    for seed in range(6):
        query = VectorQuery(asked(seed, 1 + seed % 3), all_of)
        truth = brute_force(entries, query)
        with store.reading() as view:
            for k in (1, 7, 40):
                found = ranking(Doubtful(view, way), query, k)
                # Where rows are missing, no store can be sure to have proposed the best.
                assert_ranked(found, truth, k, exact=kind.exact and way != "stale")


names = st.integers(0, 7)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(st.tuples(names, st.integers(0, 9)), max_size=4)),
        st.tuples(st.just("delete"), st.lists(names, max_size=4)),
        st.tuples(st.just("settle"), st.booleans()),
        st.tuples(st.just("recode"), st.integers(0, 99)),
        st.tuples(st.just("reopen"), st.none()),
        st.tuples(st.just("search"), st.integers(0, 99)),
    ),
    max_size=14,
)


@pytest.mark.parametrize("name", list(KINDS))
@settings(max_examples=12)
@given(operations=operations)
def test_any_operations_leave_what_a_dict_would(tmp_path_factory, name, operations):
    with KINDS[name].in_use() as kind:
        place = tmp_path_factory.mktemp("any") / "store"
        store, model = kind.make(place), {}
        for operation, value in [*operations, ("search", 0)]:
            if operation == "upsert":
                entries = [entry(i, seed=f"{i} {v}", rows=v) for i, v in value]
                store.upsert(entries)
                for one in entries:
                    model.pop(one.path, None)  # a replaced one comes last
                    model[one.path] = one
            elif operation == "delete":
                gone = {f"/i/{i}" for i in value} & set(model)
                assert store.delete_images([f"/i/{i}" for i in value]) == len(gone)
                model = {path: one for path, one in model.items() if path not in gone}
            elif operation == "settle":
                store.settle(whole=value)
            elif operation == "recode":
                model = {
                    path: one._replace(record=record(f"{path} {value}", len(one.record)))
                    for path, one in model.items()
                }
                with store.reading() as view:
                    pairs = list(zip(view.table.ids.tolist(), view.table.paths, strict=True))
                store.recode(((i, model[path].record) for i, path in pairs), {"value": value})
                assert store.get("value") == value
            elif operation == "reopen":
                store.close()
                store = kind.open(place)
            else:
                assert content(store) == wanted_content(model.values())
                assert list(content(store)) == list(model)
                assert store.file_states() == {path: one.file for path, one in model.items()}
                query = VectorQuery(asked(value, 2), all_of=value % 2 == 0)
                truth = brute_force(model.values(), query)
                with store.reading() as view:
                    found = ranking(view, query, EVERYTHING)
                    assert_ranked(found, truth, EVERYTHING, exact=True)
                    for its in view.candidates(query.vectors, EVERYTHING, EVERYTHING):
                        held = its.images[its.images >= 0]
                        places = np.searchsorted(view.table.ids, held).tolist()
                        close = 2e-6 if view.exact else 0.05
                        for i, score in zip(places, its.scores[its.images >= 0], strict=True):
                            scores = (
                                model[view.table.paths[i]].record.unit_vectors @ query.vectors.T
                            )
                            assert np.abs(scores - score).min() < close
        store.close()


def in_child(code, *arguments, **options):
    """Start Python code in a process of its own, the tests' modules at hand."""
    paths = f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
    command = [sys.executable, "-W", "ignore", "-c", paths + textwrap.dedent(code)]
    return subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **options
    )


_WRITER = """
    from pathlib import Path
    from stores import KINDS, entry
    with KINDS[sys.argv[1]].in_use() as kind:
        store = kind.open(Path(sys.argv[2]))
        for batch in range(10**6):
            print(batch, flush=True)
            store.upsert([entry(f"{batch} {i}", rows=3) for i in range(4)])
            if batch % 5 == 4:
                store.settle(whole=batch % 2 == 0)
"""


@POSIX
@pytest.mark.parametrize("name", ["flat with a base", "cells"])
def test_killed_at_any_moment_it_holds_batches_wholly_or_not_at_all(name, tmp_path):
    rng = np.random.default_rng(len(name))
    place = tmp_path / "store"
    with KINDS[name].in_use() as kind:
        kind.make(place).close()
        held = -1
        for lines in (1, 4, 11, 26):
            with in_child(_WRITER, name, place) as writer:
                watchdog = threading.Timer(60, writer.kill)
                watchdog.start()
                try:
                    said = [writer.stdout.readline() for _ in range(lines)]
                    time.sleep(rng.uniform(0, 0.004))
                finally:
                    watchdog.cancel()
                    writer.kill()
            assert said[-1] == f"{lines - 1}\n"
            store = kind.open(place)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # the base is the old one or the new one
                got = content(store)
                with store.reading() as view:
                    assert len(ranking(view, VectorQuery(asked(1)), EVERYTHING)) == len(got)
            batches = sorted({int(path.split("/")[-1].split()[0]) for path in got})
            assert len(batches) >= max(held, lines - 1)  # what a batch had begun after is there
            assert batches == list(range(len(batches)))
            its = [entry(f"{batch} {i}", rows=3) for batch in batches for i in range(4)]
            assert got == wanted_content(its)
            store.upsert([entry("after")])
            assert store.delete_images(["/i/after"]) == 1
            store.close()
            held = len(batches)


_FULL = """
    import resource
    from pathlib import Path
    from stores import KINDS, entry
    with KINDS[sys.argv[1]].in_use() as kind:
        store = kind.open(Path(sys.argv[2]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            for batch in range(10**6):
                store.upsert([entry(f"{batch} {i}", rows=200) for i in range(3)])
                print(batch, flush=True)
                if batch % 10 == 9:
                    store.settle()
        except OSError as error:
            print(f"{type(error).__name__}: {error}")
        store.close()
"""


@POSIX
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.in_files])
def test_a_full_disk_is_an_oserror_and_what_was_stored_is_kept(name, tmp_path):
    """A limit on the size of files, as a small disk would have it, needs no mount."""
    place = tmp_path / "store"
    with KINDS[name].in_use() as kind:
        kind.make(place).close()
        with in_child(_FULL, name, place) as writer:
            *batches, error = writer.communicate(timeout=60)[0].splitlines()
        assert writer.returncode == 0
        assert error.startswith("OSError")
        assert str(place) in error
        assert len(batches) > 5
        store = kind.open(place)
        its = [entry(f"{batch} {i}", rows=200) for batch in batches for i in range(3)]
        assert content(store) == wanted_content(its)
        store.upsert([entry("after")])
        store.settle(whole=True)
        assert len(content(store)) == len(its) + 1
        store.close()
