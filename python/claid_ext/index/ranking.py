"""From a query's vectors to images ranked by their best region (stage 1).

The nearest vectors only propose images: each is then scored by all its stored vectors.
More are asked for until no image that was not proposed can be among the best k (the threshold
algorithm of Fagin, Lotem and Naor, 2001), so that an exact store gives what brute force gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claid_ext.index.store import Candidates, StoreView
from claid_ext.record import ImageRecord

__all__ = ["Best", "Scope", "VectorQuery", "is_among", "rank_images"]

FIRST_ROWS = 64  # asked for at least in the first round
ROWS_PER_IMAGE = 4  # asked for in the first round, times k
APPROXIMATE_IMAGES = 4  # proposed before an approximate search ends, times k
ROUNDING = 1e-5  # by what two ways of adding up a dot product may differ
IMAGES_AT_ONCE = 5000  # scored together, to bound the memory of scoring all


class VectorQuery(NamedTuple):
    """A query: float32 (B, D) unit vectors, and whether all of its boxes are wanted or any."""

    vectors: NDArray[np.float32]
    all_of: bool = False

    def combine(self, scores: NDArray[np.float32]) -> float:
        """Return an image's score from its best score for each box, (B,)."""
        return float(scores.sum() if self.all_of else scores.max())


class Scope(NamedTuple):
    """What may be found: `images`, bool (M,), and regions of at least `min_size` square pixels."""

    images: NDArray[np.bool_]
    min_size: float = 0.0


class Best(NamedTuple):
    """An image's best regions for one query of B boxes.

    `image` is its id, `score` the maximum over the boxes or their sum; `regions` and `scores` (B,)
    are the best region's number and score for each box; `record` is the image's.
    """

    image: int
    score: float
    regions: NDArray[np.int64]
    scores: NDArray[np.float32]
    record: ImageRecord


@dataclass
class _Pending:
    """A query in progress, with what has been scored so far."""

    query: VectorQuery
    scored: dict[int, Best] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    ranking: list[Best] = field(default_factory=list)
    done: bool = False


def rank_images(
    queries: Sequence[VectorQuery], k: int, view: StoreView, scope: Scope
) -> list[list[Best]]:
    """Rank images for each query; k of them, or all in scope if they are fewer.

    Parameters
    ----------
    queries : with `all_of`, an image's score is the sum of the best scores of the query's boxes;
        otherwise the maximum.
    k : how many distinct images.
    view : of the store.
    scope : what may be found.

    Returns
    -------
    A list per query, best first; equal scores in the order the images were added.
    """
    table = view.table
    allowed = table.ids[scope.images]
    most = int(table.counts[scope.images].sum())
    where = None if len(allowed) == len(table.ids) else allowed
    pending = [_Pending(query) for query in queries]
    count, effort = max(FIRST_ROWS, ROWS_PER_IMAGE * k), 1
    while active := [one for one in pending if not one.done]:
        if count >= most:
            _score_everything(active, k, view, allowed, scope)
            break
        boxes = np.concatenate([one.query.vectors for one in active])
        found = view.candidates(np.ascontiguousarray(boxes), count, effort, where)
        all_proposed = view.most_candidates is not None and count >= view.most_candidates
        start = 0
        for one in active:
            its = found[start : start + len(one.query.vectors)]
            start += len(its)
            proposed = np.unique(np.concatenate([candidates.images for candidates in its]))
            _score(one, proposed[is_among(proposed, allowed)].tolist(), view, scope)
            _take_best(one, k)
            if len(one.ranking) == k:
                one.done = (
                    one.ranking[-1].score > _bound(one.query, its, view.score_error) + ROUNDING
                    if view.exact
                    else all_proposed or len(one.scored) >= APPROXIMATE_IMAGES * k
                )
        # A store that has proposed all it can knows no better way to the rest than to score it.
        count, effort = most if all_proposed else 4 * count, 4 * effort
    return [one.ranking for one in pending]


def is_among(ids: NDArray[np.int64], all_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which ids (n,) are among others, which ascend; bool (n,)."""
    if len(all_ids) == 0:
        return np.zeros(len(ids), bool)
    places = np.minimum(np.searchsorted(all_ids, ids), len(all_ids) - 1)
    found: NDArray[np.bool_] = all_ids[places] == ids
    return found


def _bound(query: VectorQuery, found: list[Candidates], score_error: float) -> float:
    """Return what an image without any vector among those found can score at most.

    A vector that was not found has at most the candidate score of the last that was, and a true
    score of at most `score_error` more, for each box; both ways to combine boxes are monotonic.
    """
    none = [-1.0 if its.exhausted else 1.0 for its in found]  # nothing is known where none came
    last = [its.scores[-1] if len(its.scores) else n for its, n in zip(found, none, strict=True)]
    error = score_error * np.linalg.norm(query.vectors, axis=1)
    return query.combine(np.array(last, np.float32) + error.astype(np.float32))


def _take_best(one: _Pending, k: int) -> None:
    one.ranking = sorted(one.scored.values(), key=lambda best: (-best.score, best.image))[:k]


def _score_everything(
    active: list[_Pending], k: int, view: StoreView, ids: NDArray[np.int64], scope: Scope
) -> None:
    for one in active:
        for start in range(0, len(ids), IMAGES_AT_ONCE):
            _score(one, ids[start : start + IMAGES_AT_ONCE].tolist(), view, scope)
            _take_best(one, k)
            one.scored = {best.image: best for best in one.ranking}
        one.done = True


def _score(one: _Pending, images: list[int], view: StoreView, scope: Scope) -> None:
    """Score images by all their vectors in scope, unless they have been scored before."""
    new = [i for i in images if i not in one.seen]
    one.seen.update(new)
    for image, record in view.records(np.array(new, np.int64)):
        scores = record.unit_vectors @ one.query.vectors.T  # (R, B)
        scores[record.regions.size < scope.min_size] = -np.inf
        if len(scores) == 0 or np.isneginf(scores).all():
            continue
        regions = scores.argmax(axis=0)
        best = np.take_along_axis(scores, regions[None], axis=0)[0]
        one.scored[image] = Best(image, one.query.combine(best), regions, best, record)
