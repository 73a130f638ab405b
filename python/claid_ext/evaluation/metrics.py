"""How good a ranking is: average precision in its several definitions, and localisation.

Every function here takes a ranking as flags: `relevant[r]` says whether the image at rank r (0 is
the best) shows what was asked for. `flags` makes them from image numbers, leaving out junk. Tied
scores have to be put in one order before that; `rank` does so, lower image number first, so that
a figure never depends on the order in which a sort meets ties.

`positives` is the number of images that should be found, in the ranking or not. A query that has
none has no average precision: NaN, left out of every mean here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

__all__ = [
    "CUTOFFS",
    "Denominator",
    "Protocol",
    "average_precision",
    "flags",
    "ilias_average_precision",
    "localised",
    "mean",
    "mean_iou",
    "rank",
    "revisited_truth",
    "trapezoidal_average_precision",
]

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

Denominator = Literal["min", "positives"]
Protocol = Literal["easy", "medium", "hard"]

CUTOFFS: dict[str, int | None] = {"mAP-50": 50, "mAP-100": 100, "mAP-all": None}
"""The columns of the paper's Tables I, II, VI and VII."""

ILIAS_CUTOFF = 1000


def rank(scores: npt.ArrayLike) -> IntArray:
    """Image numbers (n,) by falling score (n,); of equal scores the lower number comes first.

    Raises ValueError if a score is NaN, which has no place in an order.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"scores: wanted shape (n,), got {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"scores: image {int(np.argmax(np.isnan(values)))} has a score of NaN")
    return np.argsort(-values, kind="stable").astype(np.int64)


def flags(
    ranking: npt.ArrayLike, positives: npt.ArrayLike, junk: npt.ArrayLike = ()
) -> tuple[BoolArray, IntArray]:
    """Relevance of a ranking, with junk taken out as if it had never been in the database.

    ranking: image numbers (n,), best first, each once. positives, junk: image numbers, any order.
    Returns `relevant` bool (m,) and `places` int64 (m,), where in `ranking` each flag came from,
    m = n less the junk that was ranked.
    Raises ValueError if an image is ranked twice, or is both a positive and junk.
    """
    ranked, wanted, ignored = (_numbers(x) for x in (ranking, positives, junk))
    ascending = np.sort(ranked)
    if (ascending[1:] == ascending[:-1]).any():
        numbers, counts = np.unique(ranked, return_counts=True)
        raise ValueError(f"ranking: image {numbers[np.argmax(counts)]} is there more than once")
    both = np.intersect1d(wanted, ignored)
    if len(both):
        raise ValueError(f"junk: image {both[0]} is among the positives too")
    places = np.flatnonzero(~np.isin(ranked, ignored)).astype(np.int64)
    return np.isin(ranked[places], wanted), places


def average_precision(
    relevant: npt.ArrayLike,
    positives: int,
    cutoff: int | None = None,
    denominator: Denominator = "min",
) -> float:
    """Average precision: the mean, over the images to be found, of the precision at their ranks.

    Sum over the relevant ranks r <= cutoff of (relevant among the first r) / r, divided by
    min(cutoff, positives) ("min") or by `positives`. Without a cutoff both are the same.
    With "min" a ranking whose first `cutoff` are all relevant has 1; with "positives" the figure
    never falls as the cutoff grows. The paper's Table I has mAP-50 above mAP-100, so it used "min".

    relevant: bool (n,). positives: how many there are to find, at least the number of flags set.
    Returns a number in [0, 1], or NaN if `positives` is 0.
    """
    hits = _checked(relevant, positives)
    if cutoff is not None and cutoff < 1:
        raise ValueError(f"cutoff: wanted None or a rank of at least 1, got {cutoff}")
    if denominator not in get_args(Denominator):
        raise ValueError(f"denominator: wanted 'min' or 'positives', got {denominator!r}")
    if positives == 0:
        return float("nan")
    hits = hits[:cutoff]
    found = np.flatnonzero(hits)
    precision = np.arange(1, len(found) + 1) / (found + 1)
    most = positives if cutoff is None or denominator == "positives" else min(cutoff, positives)
    return float(precision.sum() / most)


def ilias_average_precision(relevant: npt.ArrayLike, positives: int) -> float:
    """ILIAS's AP@1k: cut off at rank 1000, divided by min(1000, positives)."""
    return average_precision(relevant, positives, ILIAS_CUTOFF, "min")


def trapezoidal_average_precision(relevant: npt.ArrayLike, positives: int) -> float:
    """Area under the precision-recall curve by trapezoids: Oxford5k, Paris6k, Holidays, revisited.

    Each relevant image raises recall by 1 / positives; the curve's height over that step is the
    mean of the precision just before it (1 at the very top) and just after it. Junk is to be taken
    out first, by `flags`. Shapes as in `average_precision`.
    """
    hits = _checked(relevant, positives)
    if positives == 0:
        return float("nan")
    found = np.flatnonzero(hits)
    earlier = np.arange(len(found))
    before = np.divide(earlier, found, out=np.ones(len(found)), where=found > 0)
    after = (earlier + 1) / (found + 1)
    return float((before + after).sum() / (2 * positives))


def revisited_truth(
    easy: npt.ArrayLike, hard: npt.ArrayLike, junk: npt.ArrayLike, protocol: Protocol
) -> tuple[IntArray, IntArray]:
    """The positives and the junk, image numbers ascending, of one query of a revisited set.

    Easy: the easy are to be found, the hard are junk. Medium: easy and hard are to be found.
    Hard: the hard are to be found, the easy are junk. What is junk stays junk.
    """
    e, h, j = (_numbers(x) for x in (easy, hard, junk))
    sides = {"easy": ((e,), (h, j)), "medium": ((e, h), (j,)), "hard": ((h,), (e, j))}
    if protocol not in sides:
        raise ValueError(f"protocol: wanted one of {sorted(sides)}, got {protocol!r}")
    wanted, ignored = sides[protocol]
    return np.unique(np.concatenate(wanted)), np.unique(np.concatenate(ignored))


def localised(relevant: npt.ArrayLike, ious: npt.ArrayLike, threshold: float = 0.5) -> BoolArray:
    """Flags (n,) of the images that are relevant and whose returned box lies on the object.

    ious: float (n,), of each image's returned box with its truth (any value where not relevant).
    The average precision of these flags, over the same number of positives, is the localised one:
    an image found by its background alone counts as not found.
    """
    hits, overlaps = np.asarray(relevant, dtype=bool), np.asarray(ious, dtype=np.float64)
    if hits.shape != overlaps.shape or hits.ndim != 1:
        raise ValueError(f"ious: wanted the shape of relevant, {hits.shape}, got {overlaps.shape}")
    return hits & (overlaps >= threshold)


def mean_iou(relevant: npt.ArrayLike, ious: npt.ArrayLike) -> float:
    """Mean overlap of the returned boxes with the truth over the true positives (paper, Table III).

    relevant bool (n,), ious float (n,). NaN if nothing relevant was returned.
    """
    hits, overlaps = np.asarray(relevant, dtype=bool), np.asarray(ious, dtype=np.float64)
    if hits.shape != overlaps.shape or hits.ndim != 1:
        raise ValueError(f"ious: wanted the shape of relevant, {hits.shape}, got {overlaps.shape}")
    return float(overlaps[hits].mean()) if hits.any() else float("nan")


def mean(values: Iterable[float]) -> float:
    """Mean over the queries that have a value (are not NaN); NaN if none has."""
    array = np.fromiter(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if len(array) else float("nan")


def _numbers(values: npt.ArrayLike | Sequence[int]) -> IntArray:
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"image numbers: wanted integers of shape (n,), got {array.dtype} {array.shape}"
        )
    return array.astype(np.int64)


def _checked(relevant: npt.ArrayLike, positives: int) -> BoolArray:
    hits = np.asarray(relevant, dtype=bool)
    if hits.ndim != 1:
        raise ValueError(f"relevant: wanted shape (n,), got {hits.shape}")
    if positives < np.count_nonzero(hits):
        raise ValueError(
            f"positives: wanted at least the {np.count_nonzero(hits)} that were ranked, "
            f"got {positives}"
        )
    return hits
