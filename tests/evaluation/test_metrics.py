"""Average precision against hand-computed cases, a slow second writing of it, and its laws."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from claid_ext.evaluation import (
    average_precision,
    flags,
    ilias_average_precision,
    localised,
    mean,
    mean_iou,
    rank,
    revisited_truth,
    trapezoidal_average_precision,
)
from hypothesis import assume, given
from hypothesis import strategies as st

ranked_flags = st.lists(st.booleans(), max_size=40)
unranked = st.integers(0, 5)


def slow_average_precision(relevant: list[bool], most: int, cutoff: int) -> Fraction:
    total, seen = Fraction(0), 0
    for position, hit in enumerate(relevant, start=1):
        if position > cutoff:
            break
        if hit:
            seen += 1
            total += Fraction(seen, position)
    return total / most


def slow_trapezoids(relevant: list[bool], positives: int) -> Fraction:
    """Walk the whole precision-recall curve, one ranked image after another."""
    area, recall, precision, seen = Fraction(0), Fraction(0), Fraction(1), 0
    for position, hit in enumerate(relevant, start=1):
        seen += hit
        new_recall, new_precision = Fraction(seen, positives), Fraction(seen, position)
        area += (new_recall - recall) * (precision + new_precision) / 2
        recall, precision = new_recall, new_precision
    return area


@given(ranked_flags, unranked, st.integers(1, 50))
def test_average_precision_is_the_slow_one(hits: list[bool], more: int, cutoff: int) -> None:
    positives = sum(hits) + more
    assume(positives > 0)
    by_min = slow_average_precision(hits, min(cutoff, positives), cutoff)
    by_positives = slow_average_precision(hits, positives, cutoff)
    everything = slow_average_precision(hits, positives, len(hits) + 1)
    assert average_precision(hits, positives, cutoff) == pytest.approx(float(by_min))
    assert average_precision(hits, positives, cutoff, "positives") == pytest.approx(
        float(by_positives)
    )
    assert average_precision(hits, positives) == pytest.approx(float(everything))
    assert average_precision(hits, positives, None, "positives") == pytest.approx(float(everything))
    assert trapezoidal_average_precision(hits, positives) == pytest.approx(
        float(slow_trapezoids(hits, positives))
    )


@given(ranked_flags, unranked, st.integers(1, 50))
def test_a_perfect_ranking_has_one(hits: list[bool], more: int, cutoff: int) -> None:
    perfect = sorted(hits, reverse=True)
    assume(any(hits))
    assert average_precision(perfect, sum(hits), cutoff) == pytest.approx(1.0)
    assert average_precision(perfect, sum(hits), cutoff, "positives") == pytest.approx(
        min(1.0, cutoff / sum(hits))
    )
    assert trapezoidal_average_precision(perfect, sum(hits)) == pytest.approx(1.0)
    assert average_precision(hits, sum(hits) + more) <= 1.0


@given(st.lists(st.booleans(), min_size=2, max_size=40), unranked, st.data())
def test_moving_a_relevant_image_up_never_hurts(
    hits: list[bool], more: int, data: st.DataObject
) -> None:
    assume(sum(hits) + more > 0)
    place = data.draw(st.integers(1, len(hits) - 1))
    assume(hits[place] and not hits[place - 1])
    better = hits.copy()
    better[place - 1], better[place] = True, False
    positives = sum(hits) + more
    for score in (average_precision, trapezoidal_average_precision):
        assert score(better, positives) > score(hits, positives)
    for cutoff in (1, place, len(hits)):
        assert average_precision(better, positives, cutoff) >= average_precision(
            hits, positives, cutoff
        )


@given(ranked_flags, unranked)
def test_with_all_positives_below_a_longer_cutoff_never_hurts(hits: list[bool], more: int) -> None:
    positives = sum(hits) + more
    assume(positives > 0)
    scores = [average_precision(hits, positives, k, "positives") for k in range(1, len(hits) + 2)]
    assert all(a <= b for a, b in pairwise(scores))


@given(st.permutations(range(20)), st.sets(st.integers(0, 19)), st.sets(st.integers(0, 19)))
def test_junk_counts_neither_way(ranking: list[int], wanted: set[int], ignored: set[int]) -> None:
    ignored = ignored - wanted
    without = [image for image in ranking if image not in ignored]
    relevant, places = flags(ranking, sorted(wanted), sorted(ignored))
    assert relevant.tolist() == [image in wanted for image in without]
    assert [ranking[place] for place in places] == without


def test_by_hand() -> None:
    hits = [True, False, True, False, False, True]
    assert average_precision(hits, 4) == pytest.approx((1 + 2 / 3 + 3 / 6) / 4)
    assert average_precision(hits, 4, 3) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(hits, 4, 3, "positives") == pytest.approx((1 + 2 / 3) / 4)
    # Before and after each hit: (1, 1), (1/2, 2/3), (2/5, 3/6).
    assert trapezoidal_average_precision(hits, 4) == pytest.approx(
        (2 + 1 / 2 + 2 / 3 + 2 / 5 + 1 / 2) / 8
    )
    assert trapezoidal_average_precision([False, True], 1) == pytest.approx(1 / 4)
    assert average_precision([], 3) == 0.0
    assert math.isnan(average_precision([False], 0))
    assert math.isnan(trapezoidal_average_precision([], 0))


def test_ilias_looks_at_a_thousand() -> None:
    hits = [False] * 999 + [True, True]
    assert ilias_average_precision(hits, 2) == pytest.approx(1 / 1000 / 2)
    assert ilias_average_precision([True] * 1200, 1200) == pytest.approx(1.0)


def test_revisited_protocols() -> None:
    def of(protocol: str) -> tuple[list[int], list[int]]:
        positives, junk = revisited_truth([4, 1], [7], [9, 2], protocol)  # type: ignore[arg-type]
        return positives.tolist(), junk.tolist()

    assert of("easy") == ([1, 4], [2, 7, 9])
    assert of("medium") == ([1, 4, 7], [2, 9])
    assert of("hard") == ([7], [1, 2, 4, 9])
    with pytest.raises(ValueError, match="protocol: wanted one of"):
        of("extreme")


def test_a_revisited_ranking_by_hand() -> None:
    ranking = [9, 4, 7, 0, 1]
    easy = flags(ranking, *revisited_truth([4, 1], [7], [9, 2], "easy"))[0]
    assert easy.tolist() == [True, False, True]
    assert trapezoidal_average_precision(easy, 2) == pytest.approx((2 + 1 / 2 + 2 / 3) / 4)
    hard = flags(ranking, *revisited_truth([4, 1], [7], [9, 2], "hard"))[0]
    assert trapezoidal_average_precision(hard, 1) == 1.0


def test_ties_go_to_the_lower_number() -> None:
    assert rank([0.5, 0.9, 0.5, 0.9, 0.1]).tolist() == [1, 3, 0, 2, 4]
    with pytest.raises(ValueError, match="image 1 has a score of NaN"):
        rank([0.5, float("nan")])


def test_localised_hits_and_their_mean_overlap() -> None:
    relevant = [True, True, False, True]
    ious = [0.5, 0.49, 1.0, 0.9]
    assert localised(relevant, ious).tolist() == [True, False, False, True]
    assert localised(relevant, ious, 0.4).tolist() == [True, True, False, True]
    assert mean_iou(relevant, ious) == pytest.approx((0.5 + 0.49 + 0.9) / 3)
    assert math.isnan(mean_iou([False], [0.5]))
    with pytest.raises(ValueError, match="ious: wanted the shape of relevant"):
        mean_iou([True], [0.5, 0.5])


def test_mean_leaves_out_queries_without_positives() -> None:
    assert mean([0.5, float("nan"), 1.0]) == 0.75
    assert math.isnan(mean([float("nan")]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: average_precision([True, True], 1), "positives: wanted at least the 2"),
        (lambda: average_precision([True], 1, 0), "cutoff: wanted None or a rank of at least 1"),
        (lambda: average_precision([True], 1, 5, "all"), "denominator: wanted 'min' or"),
        (lambda: average_precision([[True]], 1), "relevant: wanted shape"),
        (lambda: flags([1, 2, 1], [1]), "ranking: image 1 is there more than once"),
        (lambda: flags([1, 2], [1], [1]), "junk: image 1 is among the positives"),
        (lambda: flags([0.5], [1]), "image numbers: wanted integers"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
