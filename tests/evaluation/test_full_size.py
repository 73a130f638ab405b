"""Evaluators at the size of the real sets, on their ground truth alone: rankings are made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from claid_ext.evaluation import SearchSet
from claid_ext.evaluation.datasets.sets import SearchQuery
from claid_ext.evaluation.metrics import revisited_truth, trapezoidal_average_precision
from claid_ext.evaluation.scoring import Ranking, score

IMAGES, QUERIES = 27_293, 1_250


@pytest.fixture(scope="module")
def instre(shared_data: Path) -> tuple[SearchSet, list[np.ndarray]]:
    """INSTRE, its truth boxes made up: the thing is at x = its number of image, 10 wide."""
    truth = json.loads((shared_data / "gnd/gnd_instre.json").read_text())
    names, gnd = truth["imlist"], truth["gnd"]
    assert (len(names), len(gnd)) == (IMAGES, QUERIES)
    queries, positives = [], []
    for number, one in enumerate(gnd):
        wanted = np.unique(np.asarray(one["ok"], np.int64)) - 1
        positives.append(wanted)
        truths = tuple(np.array([[n, 0.0, n + 10, 10]]) for n in wanted)
        queries.append(SearchQuery(str(number), Path(f"q{number}"), None, wanted, truths=truths))
    found = SearchSet("INSTRE", tuple(Path(str(n)) for n in range(IMAGES)), tuple(queries))
    return found, positives


def boxes_of(images: np.ndarray, shift: float) -> np.ndarray:
    return np.stack(
        [images + shift, np.zeros(len(images)), images + shift + 10, np.full(len(images), 10.0)], 1
    ).astype(np.float64)


def test_instre_with_made_rankings(instre) -> None:
    """All images of every query are ranked: positives at every third place, from the first."""
    found, positives = instre
    others = np.arange(IMAGES)

    def rankings():
        for wanted in positives:
            rest = np.setdiff1d(others, wanted, assume_unique=True)
            order = np.empty(IMAGES, np.int64)
            places = 3 * np.arange(len(wanted))
            taken = np.zeros(IMAGES, bool)
            taken[places] = True
            order[taken], order[~taken] = wanted, rest
            # Every second positive has its box off by 4 of 10 pixels: IoU 6 / 14.
            boxes = boxes_of(order, 0.0)
            boxes[places[1::2]] += [4, 0, 4, 0]
            yield Ranking(order, boxes)

    scores = score(found, rankings())
    wanted_ap, wanted_50, wanted_localised, wanted_iou = [], [], [], []
    for wanted in positives:
        n = len(wanted)
        precision = (np.arange(n) + 1) / (3 * np.arange(n) + 1)
        wanted_ap.append(precision.mean())
        within = (3 * np.arange(n)) < 50
        wanted_50.append(precision[within].sum() / min(50, n))
        on = np.arange(0, n, 2)
        wanted_localised.append(((np.arange(len(on)) + 1) / (3 * on + 1)).sum() / n)
        wanted_iou.append((len(on) + (n - len(on)) * 6 / 14) / n)
    assert scores.average_precision["mAP-all"] == pytest.approx(np.mean(wanted_ap))
    assert scores.average_precision["mAP-50"] == pytest.approx(np.mean(wanted_50))
    assert scores.localised == pytest.approx(np.mean(wanted_localised))
    assert scores.mean_iou == pytest.approx(np.mean(wanted_iou))
    assert len(scores.per_query["mAP-all"]) == QUERIES
    low, high = scores.interval("mAP-all")
    assert low < scores.average_precision["mAP-all"] < high


def test_instre_of_two_things(shared_data: Path) -> None:
    gnd = json.loads((shared_data / "gnd/gnd_instre.json").read_text())
    multiple = [name for name in gnd["qimlist"] if "INSTRE-M" in name]
    assert len(multiple) == 250


@pytest.mark.parametrize(("name", "images"), [("roxford5k", 4_993), ("rparis6k", 6_322)])
def test_revisited_with_made_rankings(shared_data: Path, name: str, images: int) -> None:
    """Positives first, then junk, then the rest: 1; junk in front changes nothing."""
    truth = json.loads((shared_data / f"gnd/gnd_{name}.json").read_text())
    assert len(truth["imlist"]) == images
    for protocol in ("easy", "medium", "hard"):
        queries, orders = [], []
        for number, one in enumerate(truth["gnd"]):
            wanted, junk = revisited_truth(one["easy"], one["hard"], one["junk"], protocol)
            queries.append(SearchQuery(str(number), Path("q"), None, wanted, junk))
            rest = np.setdiff1d(np.arange(images), np.concatenate([wanted, junk]))
            orders.append(np.concatenate([junk, wanted[:1], rest[:1], wanted[1:], rest[1:]]))
        found = SearchSet(name, tuple(Path(str(n)) for n in range(images)), tuple(queries))
        scores = score(found, (Ranking(o, np.zeros((len(o), 4))) for o in orders))
        expected = [
            trapezoidal_average_precision(
                np.array([True, False, *[True] * (len(q.positives) - 1)]), len(q.positives)
            )
            for q in queries
            if len(q.positives)
        ]
        assert scores.trapezoidal == pytest.approx(np.mean(expected))
        assert scores.localised is None
