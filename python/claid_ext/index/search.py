"""From a query's vectors to images ranked by their best region.

The nearest rows only propose images: each is then scored by all its vectors, from the store. More
rows are asked for until no image that was not proposed can be among the best k (the threshold
algorithm of Fagin, Lotem and Naor, 2001), so that a Flat index gives what brute force gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claid_ext.index.query import Hit
from claid_ext.index.snapshot import Snapshot
from claid_ext.index.store import ImageTable, Store, Stored
from claid_ext.index.vectors import Candidates

__all__ = ["Best", "Scope", "as_hits", "rank_images"]

FIRST_ROWS = 64  # asked for at least in the first round
ROWS_AN_IMAGE = 4  # asked for in the first round, times k
APPROXIMATE_IMAGES = 4  # proposed before an approximate search ends, times k
ROUNDING = 1e-5  # by what two ways of adding up a dot product may differ
IMAGES_AT_ONCE = 5000  # scored together, to bound the memory of scoring all


class Scope(NamedTuple):
    """What may be found: `images`, bool (M,), and rows of at least `min_size` square pixels."""

    images: NDArray[np.bool_]
    min_size: float
    sizes: NDArray[np.float32] | None  # of all rows, where min_size is over 0


class Best(NamedTuple):
    """An image's best regions for one query of B boxes.

    `image` is its place in the table, `score` the maximum over the boxes or their sum, `regions`
    and `scores` (B,) the best region's number and score for each box.
    """

    image: int
    score: float
    regions: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass
class _Pending:
    """A query on its way: what has been scored so far."""

    vectors: NDArray[np.float32]  # (B, dim)
    together: bool
    scored: dict[int, Best] = field(default_factory=dict)
    ranking: list[Best] = field(default_factory=list)
    done: bool = False

    def combine(self, scores: NDArray[np.float32]) -> float:
        return float(scores.sum() if self.together else scores.max())


def rank_images(
    queries: list[tuple[NDArray[np.float32], bool]],
    k: int,
    store: Store,
    snapshot: Snapshot,
    scope: Scope,
) -> list[list[Best]]:
    """Rank images for each query; k of them, or all in scope if they are fewer.

    Parameters
    ----------
    queries : of each, float32 (B, dim) unit vectors, and whether all of its boxes are asked for
        (sum of the best scores) or any (maximum).
    k : how many distinct images.
    store, snapshot : of the index.
    scope : what may be found.

    Returns
    -------
    Of each query, best first; equal scores in the order the images were added.
    """
    table, owner, vectors = snapshot.table, snapshot.owner, snapshot.vectors
    allowed = _allowed_rows(owner, scope)
    most = int(allowed.sum())
    pending = [_Pending(boxes, together) for boxes, together in queries]
    count, effort = max(FIRST_ROWS, ROWS_AN_IMAGE * k), 1
    while active := [query for query in pending if not query.done]:
        if count >= most:
            _score_everything(active, k, store, table, scope)
            break
        boxes = np.concatenate([query.vectors for query in active])
        found = vectors.search(np.ascontiguousarray(boxes), count, effort)
        start = 0
        for query in active:
            its = found[start : start + len(query.vectors)]
            start += len(query.vectors)
            rows = np.concatenate([candidates.rows for candidates in its])
            images = np.unique(owner[rows[allowed[rows]]])
            _score(query, images, store, table, scope)
            _take_best(query, k)
            if len(query.ranking) == k:
                query.done = (
                    query.ranking[-1].score > _bound(query, its) + ROUNDING
                    if vectors.exact
                    else len(query.scored) >= APPROXIMATE_IMAGES * k
                )
        count, effort = 4 * count, 4 * effort
    return [query.ranking for query in pending]


def _bound(query: _Pending, found: list[Candidates]) -> float:
    """Return what an image without any row among those found can score at most."""
    last = [its.scores[-1] if len(its.scores) else -1.0 for its in found]
    return query.combine(np.array(last, np.float32))


def _take_best(query: _Pending, k: int) -> None:
    ordered = sorted(query.scored.values(), key=lambda best: (-best.score, best.image))
    query.ranking = ordered[:k]


def _score_everything(
    active: list[_Pending], k: int, store: Store, table: ImageTable, scope: Scope
) -> None:
    images = np.flatnonzero(scope.images)
    for query in active:
        for start in range(0, len(images), IMAGES_AT_ONCE):
            _score(query, images[start : start + IMAGES_AT_ONCE], store, table, scope)
            _take_best(query, k)
            query.scored = {best.image: best for best in query.ranking}
        query.done = True


def _score(
    query: _Pending,
    images: NDArray[np.int64],
    store: Store,
    table: ImageTable,
    scope: Scope,
) -> None:
    """Score images by all their vectors in scope, unless they have been scored before."""
    new = np.array([i for i in images.tolist() if i not in query.scored], np.int64)
    place = {int(table.ids[i]): i for i in new.tolist()}
    for identity, its in store.vectors(table.ids[new], query.vectors.shape[1]):
        image = place[identity]
        scores = its @ query.vectors.T  # (R, B)
        if scope.sizes is not None:
            first = table.first[image]
            scores[scope.sizes[first : first + len(its)] < scope.min_size] = -np.inf
        if len(scores) == 0 or np.isneginf(scores).all():
            continue
        regions = scores.argmax(axis=0)
        best = np.take_along_axis(scores, regions[None], axis=0)[0]
        query.scored[image] = Best(image, query.combine(best), regions, best)


def _allowed_rows(owner: NDArray[np.int64], scope: Scope) -> NDArray[np.bool_]:
    allowed = np.zeros(len(owner), bool)
    live = owner >= 0
    allowed[live] = scope.images[owner[live]]
    if scope.sizes is not None:
        allowed &= scope.sizes >= scope.min_size
    return allowed


def as_hits(
    rankings: list[list[Best]], all_of: list[bool], store: Store, table: ImageTable
) -> list[list[Hit]]:
    """Return what rankings found with its paths, boxes and levels."""
    found = np.array(sorted({best.image for ranking in rankings for best in ranking}), np.int64)
    regions = store.regions(table.ids[found])
    return [
        [
            _hit(best, table.paths[best.image], regions[int(table.ids[best.image])], together)
            for best in ranking
        ]
        for ranking, together in zip(rankings, all_of, strict=True)
    ]


def _hit(best: Best, path: str, regions: list[Stored], all_of: bool) -> Hit:
    parts = tuple(
        Hit(path, regions[region].box, float(score), regions[region].level)
        for region, score in zip(best.regions.tolist(), best.scores.tolist(), strict=True)
    )
    top = max(parts, key=lambda part: part.score)
    return Hit(path, top.box, best.score, top.level, parts if all_of else ())
