"""From a query to hits: stage 1 finds photos, stage 2 the box in each; expansion repeats both.

Stage 1 ranks all photos by their regions' vectors (`claid_ext.index.ranking`). Stage 2 searches the
maps of the best `refine` photos for the query's box (`claid_ext.index.box_search`); they are then
ranked by

    score = cosine of stage 1 + core / 1.5

where core is how like the query the box is. Query expansion (Chum et al., ICCV 2007) adds to the
query's vector, for each of the best `expand` photos, the stored vector of the region that overlaps
the found box most, times the photo's cosine cubed, and runs both stages again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claid_ext.choices import EXPAND, REFINE
from claid_ext.descriptors.basis import Basis
from claid_ext.errors import BasisChangedError
from claid_ext.index.box_search import CellMap, FoundBox, PhotoMap, QueryTemplates, box_search
from claid_ext.index.paths import ImageFilter, matching
from claid_ext.index.ranking import Best, Scope, VectorQuery, rank_images
from claid_ext.index.store import Store, StoreView
from claid_ext.overlap import box_area, box_iou
from claid_ext.record import CellMap as StoredMap
from claid_ext.search.likely import Calibration, calibration_of
from claid_ext.search.query import Hit
from claid_ext.stage_times import StageTimes
from claid_ext.vectors import unit

__all__ = ["FindOptions", "Prepared", "find"]

CORE_WEIGHT = 1 / 1.5  # of stage 2 beside the cosine of stage 1
COSINE_POWER = 3  # of a photo's weight in the expansion


@dataclass(frozen=True, eq=False)
class Prepared:
    """A query of B boxes, ready to be searched for.

    Attributes
    ----------
    vectors : float32 (B, D), of length 1.
    all_of : whether all boxes are wanted, or any.
    templates : of each box, for stage 2; empty where the index keeps no maps.
    basis : the fingerprint of the basis it was prepared with, None for none.
    """

    vectors: NDArray[np.float32]
    all_of: bool = False
    templates: tuple[QueryTemplates, ...] = ()
    basis: str | None = None


class FindOptions(NamedTuple):
    """What is searched, and how far.

    Attributes
    ----------
    k : how many distinct images.
    min_size : regions and boxes smaller than this, in square pixels, are skipped.
    images : which images may be found; None for all.
    refine : how many of the best images get stage 2; 0 for none.
    expand : by how many of the best images the query is expanded; 0 for none.
    """

    k: int = 10
    min_size: float = 0.0
    images: ImageFilter | None = None
    refine: int = REFINE
    expand: int = EXPAND


def find(
    store: Store,
    queries: Sequence[Prepared],
    options: FindOptions,
    basis: Basis | None = None,
    times: StageTimes | None = None,
) -> list[list[Hit]]:
    """Return the hits of each query, best first.

    Parameters
    ----------
    store : of the index.
    queries : prepared with the index's network and basis.
    options : what is searched, and how far.
    basis : that the maps are coded by, None for plain maps.
    times : to which the time of each stage is added.

    Raises
    ------
    BasisChangedError : the basis has been refitted since the query was prepared.
    """
    times = StageTimes() if times is None else times
    calibration = None if basis is None else calibration_of(basis.network)
    made_for = None if basis is None else basis.fingerprint
    with store.reading() as view:
        # Another process that has refitted the basis has also recoded the records.
        if any(its != made_for for its in (store.get("basis fingerprint"), *_bases(queries))):
            raise BasisChangedError("the index's basis has changed since the query was prepared")
        table = view.table
        scope = Scope(matching(table.paths, options.images), options.min_size)
        found = []
        for query in queries:
            ranked = _Finder(query, view, scope, options, basis, calibration, times).ranked()
            found.append(
                [_hit(one, table.path(one.best.image), query, calibration) for one in ranked]
            )
    return found


def _bases(queries: Sequence[Prepared]) -> Iterator[str | None]:
    """Yield the bases of queries that depend on one."""
    return (query.basis for query in queries if query.templates)


class _Placed(NamedTuple):
    """An image with its place in a query's ranking, and the box of each of the query's B boxes.

    `best` is what stage 1 says, `score` the final score, `scores` (B,) those of each box, `boxes`
    float32 (B, 4), `regions` (B,) the stored region that each came near, `probabilities` (B,) that
    it shows the thing, equal ones unless all boxes are wanted, or None.
    """

    best: Best
    score: float
    scores: NDArray[np.float64]
    boxes: NDArray[np.float32]
    regions: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None = None


class _Finder:
    """One query on its way through the stages."""

    def __init__(  # noqa: PLR0917 (built in one place, by what `find` has at hand)
        self,
        query: Prepared,
        view: StoreView,
        scope: Scope,
        options: FindOptions,
        basis: Basis | None,
        calibration: Calibration | None,
        times: StageTimes,
    ) -> None:
        self._query, self._view, self._scope = query, view, scope
        self._options, self._times = options, times
        self._calibration = calibration
        self._codebooks = None if basis is None else (basis[0].centroids, basis[-1].centroids)
        self._found: dict[int, list[FoundBox]] = {}  # by image, of each box
        self._refine = options.refine if query.templates else 0

    def ranked(self) -> list[_Placed]:
        """Run the stages, and return the best k images."""
        k, expand = self._options.k, self._options.expand if self._query.templates else 0
        vectors = self._query.vectors
        if expand:
            best = self._rank(vectors, max(self._refine, expand))[:expand]
            vectors = self._expanded(best)
        return self._rank(vectors, max(self._refine, k))[:k]

    def _rank(self, vectors: NDArray[np.float32], most: int) -> list[_Placed]:
        with self._times.stage("stage 1"):
            asked = VectorQuery(vectors, self._query.all_of)
            (ranking,) = rank_images([asked], most, self._view, self._scope)
        with self._times.stage("stage 2"):
            self._search_boxes(ranking[: self._refine])
            top = [
                self._place(best, self._found.get(best.image, ()))
                for best in ranking[: self._refine]
            ]
        top = self._with_probabilities(top)
        top.sort(key=lambda one: (-one.score, one.best.image))
        # Nor are those refined that only were so before the expansion: k changes no score.
        rest = [self._place(best, ()) for best in ranking[self._refine :]]
        if top:  # what was not refined comes behind what was, in the order of stage 1
            last = top[-1].score
            rest = [one._replace(score=min(one.score, last)) for one in rest]
        return top + rest

    def _search_boxes(self, ranking: list[Best]) -> None:
        new = {best.image: best for best in ranking if best.image not in self._found}
        if not new:
            return
        photos = {
            image: _photo_map(new[image], maps, self._options.min_size)
            for image, maps in self._view.maps(np.array(list(new), np.int64))
        }
        by_box = [
            box_search(list(photos.values()), templates, codebooks=self._codebooks)
            for templates in self._query.templates
        ]
        for image, *boxes in zip(photos, *by_box, strict=True):
            self._found[image] = boxes

    def _place(self, best: Best, boxes_found: Sequence[FoundBox]) -> _Placed:
        """Put both stages together; without stage 2 the best regions are the boxes."""
        regions = best.record.regions
        boxes, numbers = regions.boxes[best.regions].copy(), best.regions.copy()
        scores = best.scores.astype(np.float64)
        for i, found in enumerate(boxes_found):
            scores[i] += CORE_WEIGHT * found.core
            if box_area(found.box)[0] >= self._options.min_size:
                boxes[i] = found.box
                overlap = box_iou(found.box, regions.boxes)[0]
                overlap[regions.size < self._options.min_size] = -1.0
                numbers[i] = int(overlap.argmax())
        combined = scores.sum() if self._query.all_of else scores.max()
        return _Placed(best, float(combined), scores, boxes, numbers)

    def _with_probabilities(self, top: list[_Placed]) -> list[_Placed]:
        """Say of each photo that got stage 2, in the order of stage 1, how probable it is."""
        refined = [number for number, one in enumerate(top) if one.best.image in self._found]
        if self._calibration is None or not refined:
            return top
        scores = np.array([top[number].scores for number in refined])
        cores = (scores - np.array([top[n].best.scores for n in refined])) / CORE_WEIGHT
        searched = int(self._scope.images.sum())
        judged = self._calibration.judge(scores, cores, searched, all_of=self._query.all_of)
        if judged is not None:
            for number, its in zip(refined, judged, strict=True):
                top[number] = top[number]._replace(probabilities=its)
        return top

    def _expanded(self, best: Sequence[_Placed]) -> NDArray[np.float32]:
        """Add to each box's vector those of the regions that were found, (B, D)."""
        vectors = self._query.vectors.astype(np.float64)
        for placed in best:
            stored = placed.best.record.unit_vectors
            view_of_it = int(placed.scores.argmax())
            for i in range(len(vectors)):
                # Of several views of one thing, the one that was found speaks for all.
                own = i if self._query.all_of else view_of_it
                weight = max(float(placed.best.scores[own]), 0.0) ** COSINE_POWER
                vectors[i] += weight * stored[placed.regions[own]]
        return unit(vectors)


def _photo_map(best: Best, maps: Sequence[StoredMap], min_size: float) -> PhotoMap:
    """Bring what is stored of a photo to what the kernel takes: widths before heights."""
    regions = best.record.regions
    height, width = regions.image_size
    first, last = (CellMap(its.values, its.cell[::-1]) for its in (maps[0], maps[-1]))
    kept = regions.boxes[regions.size >= min_size]
    return PhotoMap(first, last, (float(width), float(height)), kept)


def _hit(placed: _Placed, path: str, query: Prepared, calibration: Calibration | None) -> Hit:
    regions = placed.best.record.regions
    probabilities = placed.probabilities
    parts = tuple(
        _judged(
            Hit(
                path,
                tuple(placed.boxes[i].tolist()),
                float(placed.scores[i]),
                int(regions.level[region]),
                region=tuple(regions.boxes[region].tolist()),
                similarity=float(placed.best.scores[i]),
            ),
            None if probabilities is None else float(probabilities[i]),
            calibration,
        )
        for i, region in enumerate(placed.regions.tolist())
    )
    top = max(parts, key=lambda part: part.score)
    if not query.all_of:
        return replace(top, score=placed.score)
    together = replace(top, score=placed.score, similarity=placed.best.score, parts=parts)
    # Of different things: all of them are there, taken as independent of each other.
    all_there = None if probabilities is None else float(probabilities.prod())
    return _judged(together, all_there, calibration)


def _judged(hit: Hit, probability: float | None, calibration: Calibration | None) -> Hit:
    """Add whether a hit is likely."""
    if probability is None or calibration is None:
        return hit
    return replace(hit, probability=probability, likely=probability >= calibration.threshold)
