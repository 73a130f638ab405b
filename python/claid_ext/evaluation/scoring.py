"""Figures of merit of a set from the rankings of its queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from claid_ext.evaluation.datasets import SearchQuery, SearchSet
from claid_ext.evaluation.intervals import CONFIDENCE, bootstrap
from claid_ext.evaluation.metrics import (
    CUTOFFS,
    Denominator,
    average_precision,
    flags,
    ilias_average_precision,
    localised,
    mean,
    mean_iou,
    trapezoidal_average_precision,
)
from claid_ext.overlap import check_boxes

__all__ = ["HIT_IOU", "Ranking", "Scores", "score"]

HIT_IOU = 0.5


@dataclass(frozen=True, eq=False)
class Ranking:
    """The answer to one query.

    images: int64 (k,), numbers into `SearchSet.images`, best first, each once. boxes: float64
    (k, 4), the box returned with each image, in its pixels.
    """

    images: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check that there is a box for every image."""
        if len(check_boxes(self.boxes, "ranking: boxes")) != len(self.images):
            raise ValueError(f"ranking: {len(self.images)} images, {len(self.boxes)} boxes")


@dataclass(frozen=True)
class Scores:
    """The figures of one set under one configuration, each a mean over its queries.

    average_precision: by the names of `CUTOFFS`. trapezoidal: mAP as Oxford5k, Paris6k, Holidays
    and the revisited sets define it. ilias: mAP@1k. localised: mAP where a hit needs its box to
    overlap the truth by at least `HIT_IOU`; mean_iou: overlap of the returned box over the true
    positives; both None where the set does not say where things are. per_query: by the names of
    `CUTOFFS` and of the fields above, one number for each query, NaN where it has none.
    """

    average_precision: dict[str, float] = field(default_factory=dict)
    trapezoidal: float = float("nan")
    ilias: float = float("nan")
    localised: float | None = None
    mean_iou: float | None = None
    per_query: dict[str, tuple[float, ...]] = field(default_factory=dict, compare=False, repr=False)

    def interval(self, name: str, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Bootstrap interval over the queries of a figure, by its name in `per_query`.

        Returns (low, high); NaN twice if no query has a value.
        """
        return bootstrap(self.per_query.get(name, ()), confidence)


def score(
    search_set: SearchSet,
    rankings: Iterable[Ranking],
    denominator: Denominator = "min",
    hit_iou: float = HIT_IOU,
) -> Scores:
    """Score the answers to all queries of a set: one ranking per query, in their order.

    Junk is taken out of every ranking first. A ranking may stop early; what it leaves out counts
    as not found, and towards no mean IoU. Rankings are taken one at a time, so that those of a
    large set need not be held together.
    """
    figures = [
        _figures(query, ranking, denominator, hit_iou)
        for query, ranking in _pairs(search_set, rankings)
    ]
    means = {name: mean(one[name] for one in figures) for name in _NAMES}
    places = search_set.localised
    kept = _NAMES if places else [name for name in _NAMES if name not in _OF_PLACES]
    return Scores(
        average_precision={name: means[name] for name in CUTOFFS},
        trapezoidal=means["trapezoidal"],
        ilias=means["ilias"],
        localised=means["localised"] if places else None,
        mean_iou=means["mean_iou"] if places else None,
        per_query={name: tuple(one[name] for one in figures) for name in kept},
    )


_OF_PLACES = ("localised", "mean_iou")
_NAMES = (*CUTOFFS, "trapezoidal", "ilias", *_OF_PLACES)


def _pairs(
    search_set: SearchSet, rankings: Iterable[Ranking]
) -> Iterator[tuple[SearchQuery, Ranking]]:
    came = iter(rankings)
    for number, query in enumerate(search_set.queries):
        ranking = next(came, None)
        if ranking is None:
            raise ValueError(
                f"{search_set.name}: wanted {len(search_set.queries)} rankings, got {number}"
            )
        yield query, ranking
    if next(came, None) is not None:
        raise ValueError(f"{search_set.name}: wanted {len(search_set.queries)} rankings, got more")


def _figures(
    query: SearchQuery, ranking: Ranking, denominator: Denominator, hit_iou: float
) -> dict[str, float]:
    hits, kept = flags(ranking.images, query.positives, query.junk)
    wanted = len(query.positives)
    ious = np.zeros(len(hits))
    if query.truths is not None:
        ious = query.overlaps(ranking.images[kept], ranking.boxes[kept])
    return {
        **{
            name: average_precision(hits, wanted, cutoff, denominator)
            for name, cutoff in CUTOFFS.items()
        },
        "trapezoidal": trapezoidal_average_precision(hits, wanted),
        "ilias": ilias_average_precision(hits, wanted),
        "localised": average_precision(localised(hits, ious, hit_iou), wanted),
        "mean_iou": mean_iou(hits, ious),
    }
