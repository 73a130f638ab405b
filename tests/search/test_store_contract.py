"""What every store must do, whatever it is made of: one suite, each kind of `stores.KINDS`."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("faiss")

from claid_ext.errors import IndexLockedError
from claid_ext.index.ranking import VectorQuery
from claid_ext.record import ImageRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from store_checks import EVERYTHING, assert_ranked, brute_force, content, ranking, wanted_content
from stores import DIM, KINDS, asked, entry, record


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
    if not kind.grows:
        pytest.skip("its basis is frozen")
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
        other.settle,
        lambda: other.settle(whole=True),
        lambda: other.writing().__enter__(),
    ]
    if kind.grows:
        changes.append(lambda: other.recode(iter([]), {"name": "x"}))
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
            elif operation == "recode" and kind.grows:
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
            elif operation == "search":
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
