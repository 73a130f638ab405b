"""Stores of int8 vectors: compared as they are stored, and still exact."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("faiss")

from claid_ext.errors import DamagedRecordError
from claid_ext.index import base as faiss_base
from claid_ext.index import ranking
from claid_ext.index.embedded import EmbeddedStore
from claid_ext.index.ranking import Scope, VectorQuery, rank_images
from claid_ext.index.store import Entry
from claid_ext.record import ImageRecord
from claid_ext.regions import Regions
from claid_ext.vectors import decode_vectors, encode_vectors, unit
from hypothesis import given, settings
from hypothesis import strategies as st

DIM = 48
NO_FILE = (0, 0)


@pytest.fixture(autouse=True)
def small_base(monkeypatch):
    monkeypatch.setattr(faiss_base, "LEAST_BASE", 50)
    monkeypatch.setattr(faiss_base, "ROWS_A_CENTROID", 1)
    monkeypatch.setattr(ranking, "FIRST_ROWS", 4)


def record_of(codes):
    boxes = [[0, 0, 1 + i, 1 + i] for i in range(len(codes))]
    return ImageRecord(Regions.of_boxes((9, 9), np.reshape(boxes, (-1, 4))), codes)


def put(store, content):
    store.upsert([Entry(path, record_of(codes), NO_FILE) for path, codes in content.items()])
    store.settle()


def made(folder, content, factory="Flat", dim=DIM):
    store = EmbeddedStore(folder, dim=dim, factory=factory, probes=1)
    put(store, content)
    return store


def brute_force(content, query):
    """Each image's score from the codes alone, in float64."""
    scores = {}
    for path, codes in content.items():
        if len(codes):
            exact = codes.astype(np.float64)
            exact /= np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-9)
            best = (exact @ query.vectors.T.astype(np.float64)).max(axis=0)
            scores[path] = best.sum() if query.all_of else best.max()
    return scores


def assert_exact(store, content, query, k):
    """What is found is the best k by brute force; of scores alike, whichever."""
    with store.reading() as view:
        everything = Scope(np.ones(len(view.table.ids), bool))
        (found,) = rank_images([query], k, view, everything)
        names = dict(zip(view.table.ids.tolist(), view.table.paths, strict=True))
    truth = brute_force(content, query)
    best = sorted(truth.values(), reverse=True)[:k]
    assert len({one.image for one in found}) == len(found) == min(k, len(truth))
    np.testing.assert_allclose([one.score for one in found], best, rtol=0, atol=2e-6)
    for one in found:
        assert one.score == pytest.approx(truth[names[one.image]], abs=2e-6)


def vectors(rng, count, dim=DIM):
    return unit(rng.normal(size=(count, dim)))


def images_of(codes, rng, most=20):
    """Divide rows over images, some of them empty."""
    ends = np.minimum(np.cumsum(rng.integers(0, most, len(codes))), len(codes))
    parts = np.split(codes, ends[: int(np.searchsorted(ends, len(codes)))])
    return {f"/i/{number}": its for number, its in enumerate(parts)}


def adversarial(rng, count, query):
    """Codes of nearly equal scores whose lengths belie them, among peaked, long and zero ones."""
    near = unit(query + 0.3 * vectors(rng, count))
    peaked = vectors(rng, count)
    peaked[np.arange(count), rng.integers(0, DIM, count)] = rng.choice([-4, 4], count)
    shortened = encode_vectors(unit(peaked))
    scaled = np.rint(254 * rng.uniform(0.3, 1.0, (count, 1)) * near).astype(np.int8)
    almost = np.rint(254 * rng.uniform(0.995, 1.005, (count, 1)) * near).astype(np.int8)
    extreme = rng.choice(np.array([-128, 127], np.int8), (count // 8 + 1, DIM))
    zeros = np.zeros((count // 8 + 1, DIM), np.int8)
    return np.concatenate([encode_vectors(near), shortened, scaled, almost, extreme, zeros])


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**20),
    k=st.integers(1, 25),
    boxes=st.integers(1, 3),
    all_of=st.booleans(),
    kind=st.sampled_from(["plain", "burst", "adversarial", "ties"]),
)
def test_flat_equals_brute_force(tmp_path_factory, seed, k, boxes, all_of, kind):  # noqa: PLR0917
    rng = np.random.default_rng(seed)
    query = VectorQuery(vectors(rng, boxes), all_of)
    codes = encode_vectors(vectors(rng, 400))
    if kind == "burst":  # one image holds what is nearest
        codes[:200] = encode_vectors(unit(query.vectors[:1] + 0.05 * vectors(rng, 200)))
    elif kind == "adversarial":
        codes = adversarial(rng, 100, query.vectors[:1])
    elif kind == "ties":
        nearly = np.repeat(codes[:20], 20, axis=0) + rng.integers(0, 2, (400, DIM))
        codes = np.minimum(nearly, 127).astype(np.int8)
    content = images_of(codes if kind == "burst" else rng.permutation(codes), rng)
    if kind == "burst":
        content = {"/i/burst": codes[:200], **images_of(codes[200:], rng)}
    store = made(tmp_path_factory.mktemp("x"), content)
    assert_exact(store, content, query, k)
    with store.reading() as view:
        assert view.exact
        assert view.base is None
        assert 0 < view.score_error < 0.01
    store.close()


def test_scores_differ_from_the_true_ones_by_no_more_than_is_said(tmp_path):
    rng = np.random.default_rng(3)
    query = vectors(rng, 1)
    codes = adversarial(rng, 2000, query)
    store = made(tmp_path, {f"/i/{i}": codes[i : i + 1] for i in range(len(codes))})
    with store.reading() as view:
        (found,) = view.candidates(query, len(codes), 1)
        assert found.exhausted
        assert len(found.images) == len(codes)
        true = decode_vectors(codes).astype(np.float64) @ query[0].astype(np.float64)
        off = np.abs(found.scores - true[np.searchsorted(view.table.ids, found.images)])
        assert 0.001 < off.max() <= view.score_error
    store.close()


@pytest.mark.parametrize("dim", [*range(1, 70), 96, 128, 208, 256, 1000])
def test_whatever_the_dimension_scores_are_those_of_the_very_bytes(tmp_path, dim):
    """faiss has kernels of its own for multiples of 16, 32 and 64, some of them for integers."""
    rng = np.random.default_rng(dim)
    codes = encode_vectors(vectors(rng, 60, dim))
    query = vectors(rng, 1, dim)
    store = made(tmp_path, {f"/i/{i}": codes[i : i + 1] for i in range(60)}, dim=dim)
    with store.reading() as view:
        (found,) = view.candidates(query, 60, 1)
        true = decode_vectors(codes).astype(np.float64) @ query[0].astype(np.float64)
        off = np.abs(found.scores - true[found.images - 1])
        assert off.max() <= view.score_error < 0.01
        index = view._coded.index
    rows = np.array([[-128, -127, -1, 0, 1, 126, 127]], np.float32).repeat(dim, axis=0).T[:, :dim]
    index.reset()
    index.add(np.ascontiguousarray(rows))
    scores, numbers = index.search(query, 7)
    np.testing.assert_allclose(scores[0], rows[numbers[0], 0] * query.sum(), rtol=0, atol=2e-3)
    store.close()


def codes_like(query, cosine, length, count):
    """Codes of nearly this cosine with the query, and of nearly this length."""
    rng = np.random.default_rng(6)
    across = vectors(rng, 20_000)
    across = unit(across - (across @ query.T) * query)
    codes = np.rint(254 * length * (cosine * query + np.sqrt(1 - cosine**2) * across))
    lengths = np.linalg.norm(codes, axis=1)
    right = np.abs(codes @ query[0] / lengths - cosine) < 2e-4
    right &= np.abs(lengths / 254 - length) < 3e-4
    assert right.sum() >= count
    return codes[right][:count].astype(np.int8)


def test_a_long_code_does_not_hide_a_nearer_short_one(tmp_path):
    rng = np.random.default_rng(7)
    query = vectors(rng, 1)
    content = {
        "/i/long": codes_like(query, 0.900, 1.0035, 1),
        **{f"/i/{i}": its[None] for i, its in enumerate(codes_like(query, 0.899, 1.0, 3))},
        "/i/short": codes_like(query, 0.9015, 0.9965, 1),
        "/i/far": encode_vectors(vectors(rng, 60)),
    }
    store = made(tmp_path, content)
    with store.reading() as view:
        (first,) = view.candidates(query, ranking.FIRST_ROWS, 1)
        names = [view.table.paths[i - 1] for i in first.images.tolist()]
        assert names[0] == "/i/long"
        assert "/i/short" not in names
        assert first.scores[-1] < 0.8995  # so that the long one seems to be the best
    assert_exact(store, content, VectorQuery(query), 1)
    store.close()


def test_rows_are_held_as_int8_but_for_those_of_other_lengths(tmp_path):
    rng = np.random.default_rng(0)
    content = {f"/i/{i}": encode_vectors(vectors(rng, 10)) for i in range(100)}
    peaked = np.eye(DIM, dtype=np.float32)[:5]
    content["/i/peaked"] = encode_vectors(peaked)
    store = made(tmp_path, content)
    assert not list(tmp_path.glob("base-*"))
    with store.reading() as view:
        view.candidates(peaked[:1], 1, 1)
        assert view._coded.index.ntotal + len(view._tail[1]) == 1005
        assert 5 <= len(view._tail[1]) < 25
        assert view._coded.index.code_size == DIM
    for row in peaked:
        assert_exact(store, content, VectorQuery(row[None]), 3)
    store.close()


def test_adding_removing_and_reopening(tmp_path):
    rng = np.random.default_rng(1)
    content = {f"/i/{i}": encode_vectors(vectors(rng, 7)) for i in range(30)}
    query = VectorQuery(decode_vectors(content["/i/3"])[:2], all_of=True)
    store = made(tmp_path, content)
    assert_exact(store, content, query, 10)
    new = {f"/i/{i}": encode_vectors(vectors(rng, 4)) for i in range(28, 40)}
    put(store, new)
    content |= new
    assert_exact(store, content, query, 10)
    for number in range(0, 30, 3):
        assert store.delete_images([f"/i/{number}"]) == 1
        del content[f"/i/{number}"]
    assert_exact(store, content, query, 100)
    store.settle()
    assert store.get("rows") == 30 * 7 + 12 * 4  # nothing is numbered anew
    store.settle(whole=True)
    assert store.get("rows") == sum(len(its) for its in content.values())
    assert_exact(store, content, query, 10)
    store.close()
    again = EmbeddedStore(tmp_path)
    assert_exact(again, content, query, 10)
    assert not list(tmp_path.glob("base-*"))
    again.close()


def test_few_rows_and_other_factories_are_compared_decoded(tmp_path):
    rng = np.random.default_rng(2)
    few = {f"/i/{i}": encode_vectors(vectors(rng, 7)) for i in range(7)}
    query = VectorQuery(vectors(rng, 1))
    (tmp_path / "few").mkdir()
    store = made(tmp_path / "few", few)
    assert_exact(store, few, query, 3)
    with store.reading() as view:
        assert view.score_error == 0.0
    store.close()
    (tmp_path / "cells").mkdir()
    many = {f"/i/{i}": encode_vectors(vectors(rng, 10)) for i in range(60)}
    store = made(tmp_path / "cells", many, factory="IVF4,SQ8")
    assert len(list((tmp_path / "cells").glob("base-*.faiss"))) == 1
    with store.reading() as view:
        assert not view.exact
        assert view.base.ntotal == 600
    assert_exact(store, many, query, 60)
    store.close()


def test_float32_vectors_keep_their_base(tmp_path):
    rng = np.random.default_rng(4)
    content = {f"/i/{i}": vectors(rng, 10) for i in range(60)}
    store = made(tmp_path, content)
    with store.reading() as view:
        assert view.base.ntotal == 600
        assert view.exact
        assert view.score_error == 0.0
    # Coded anew, the base goes, and so it stays.
    with store.reading() as view:
        coded = {
            image: record_of(encode_vectors(record.vectors))
            for image, record in view.records(view.table.ids)
        }
    store.recode(iter(coded.items()), {})
    store.settle(whole=True)
    assert not list(tmp_path.glob("base-*"))
    codes = {path: encode_vectors(its) for path, its in content.items()}
    assert_exact(store, codes, VectorQuery(vectors(rng, 1)), 10)
    store.close()


def test_a_changed_record_is_named(tmp_path):
    rng = np.random.default_rng(5)
    store = made(tmp_path, {f"/i/{i}": encode_vectors(vectors(rng, 10)) for i in range(10)})
    store._file._connection.execute(
        "UPDATE records SET data = zeroblob(length(data)) WHERE image = 7"
    )
    store._view = None
    with (
        store.reading() as view,
        pytest.raises(DamagedRecordError, match="the record of image 7 is damaged"),
    ):
        view.candidates(vectors(rng, 1), 5, 1)
    store.close()
