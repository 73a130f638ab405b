"""Scores of whole sets, by hand and against the metrics applied one query at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from claid_ext.evaluation import SearchQuery, SearchSet
from claid_ext.evaluation.scoring import Ranking, score

IMAGES = tuple(Path(f"{name}.jpg") for name in "abcd")
TRUTH = np.array([[0.0, 0, 10, 10]])


def query(name: str, positives: list[int], junk: list[int], places: bool = True) -> SearchQuery:
    return SearchQuery(
        name,
        Path(f"{name}.jpg"),
        None,
        np.array(positives),
        np.array(junk, dtype=np.int64),
        tuple(TRUTH for _ in positives) if places else None,
    )


def ranking(*answers: tuple[int, float]) -> Ranking:
    """Images, each with a box as wide as makes its overlap with the truth."""
    boxes = [[0, 0, 10 * iou, 10] for _, iou in answers]
    return Ranking(np.array([image for image, _ in answers]), np.array(boxes))


def test_by_hand() -> None:
    found = SearchSet("set", IMAGES, (query("x", [1, 2], [0]), query("y", [3], [])))
    answers = [
        ranking((0, 1.0), (1, 0.4), (3, 0.1), (2, 0.8)),  # junk, hit beside the thing, -, hit
        ranking((0, 1.0), (3, 0.5)),
    ]
    scores = score(found, answers)
    assert scores.average_precision["mAP-all"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert scores.average_precision["mAP-50"] == scores.average_precision["mAP-all"]
    assert scores.ilias == scores.average_precision["mAP-all"]
    assert scores.localised == pytest.approx(((1 / 3) / 2 + 1 / 2) / 2)
    assert scores.mean_iou == pytest.approx(((0.4 + 0.8) / 2 + 0.5) / 2)
    assert scores.trapezoidal == pytest.approx(((2 + 1 / 2 + 2 / 3) / 4 + 1 / 4) / 2)
    assert scores.per_query["mAP-all"] == pytest.approx(((1 + 2 / 3) / 2, 1 / 2))
    assert scores.per_query["localised"] == pytest.approx(((1 / 3) / 2, 1 / 2))
    assert scores.per_query["mean_iou"] == pytest.approx(((0.4 + 0.8) / 2, 0.5))
    # Of two queries a quarter of the draws are the one twice, a quarter the other.
    assert scores.interval("mAP-all") == pytest.approx((1 / 2, (1 + 2 / 3) / 2))
    assert scores.interval("mean_iou") == pytest.approx((0.5, 0.6))
    assert score(found, answers, hit_iou=0.3).localised == scores.average_precision["mAP-all"]


def test_an_answer_that_stops_early_loses_what_it_leaves_out() -> None:
    found = SearchSet("set", IMAGES, (query("x", [1, 2], []),))
    scores = score(found, [ranking((1, 1.0))])
    assert scores.average_precision["mAP-all"] == 0.5
    assert scores.mean_iou == 1.0


def test_a_set_without_places_has_no_localised_scores() -> None:
    found = SearchSet("set", IMAGES, (query("x", [1], [], places=False),))
    scores = score(found, [ranking((1, 1.0))])
    assert scores.localised is None
    assert scores.mean_iou is None
    assert "localised" not in scores.per_query
    assert scores.average_precision["mAP-all"] == 1.0


def test_denominators_differ_below_the_cutoff() -> None:
    images = tuple(Path(f"{n}.jpg") for n in range(120))
    found = SearchSet("set", images, (query("x", list(range(120)), []),))
    answer = [ranking(*((n, 1.0) for n in range(120)))]
    assert score(found, answer).average_precision == {
        "mAP-50": pytest.approx(1.0),
        "mAP-100": pytest.approx(1.0),
        "mAP-all": pytest.approx(1.0),
    }
    assert score(found, answer, "positives").average_precision == {
        "mAP-50": pytest.approx(50 / 120),
        "mAP-100": pytest.approx(100 / 120),
        "mAP-all": pytest.approx(1.0),
    }


def test_bad_input() -> None:
    found = SearchSet("set", IMAGES, (query("x", [1], []),))
    with pytest.raises(ValueError, match="set: wanted 1 rankings, got 0"):
        score(found, [])
    with pytest.raises(ValueError, match="set: wanted 1 rankings, got more"):
        score(found, [ranking((0, 1.0))] * 2)
    with pytest.raises(ValueError, match="2 images, 1 boxes"):
        Ranking(np.array([0, 1]), np.array([[0, 0, 1, 1]]))
    with pytest.raises(ValueError, match="image 0 is there more than once"):
        score(found, [ranking((0, 1.0), (0, 1.0))])
