"""Stores propose, records decide: what every kind of store finds, also where it proposes badly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("faiss")

from claid_ext.index import Candidates, ImageTable
from claid_ext.index.ranking import VectorQuery
from claid_ext.record import ImageRecord
from claid_ext.regions.value import Regions
from store_checks import EVERYTHING, assert_ranked, brute_force, ranking
from stores import DIM, asked, entry, unit


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


LIMIT = 16  # of candidates, as a server has one


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

    @property
    def most_candidates(self) -> int | None:
        return LIMIT if self.way == "limited" else self.real.most_candidates

    def records(self, ids):
        return self.real.records(ids)

    def candidates(self, queries, count, effort, where=None):
        return [self.spoilt(its, i) for i, its in
                enumerate(self.real.candidates(queries, count, effort, where))]  # fmt: skip

    def spoilt(self, its, number):
        images, scores = its.images, its.scores
        if self.way == "limited":
            return Candidates(images[:LIMIT], scores[:LIMIT], its.exhausted)
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


@pytest.mark.parametrize("way", ["fewer", "limited", "none for some", "doubled", "stale"])
@pytest.mark.parametrize("all_of", [False, True])
def test_ranking_is_right_whatever_is_proposed(store, kind, way, all_of):
    """A store may propose fewer rows than asked for, the same ones twice, or removed ones.

    Also only so many, which are too few for k images.
    """
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
