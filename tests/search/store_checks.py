"""What a store holds and finds, and what it should: shared by the tests of stores."""

from __future__ import annotations

import numpy as np
from claid_ext.index.ranking import Scope, rank_images
from claid_ext.record import maps_to_bytes

EVERYTHING = 10**6


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
