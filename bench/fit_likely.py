"""Fit what says whether a hit is likely, and measure it cross-wise.

    python bench/fit_likely.py ../shared/data                   # writes the package's file
    python bench/fit_likely.py DATA --check                     # compares with it, writes nothing

Needs scikit-learn, and the networks of `claid_ext[offline]`. Every query of the sets `search` and
`search_composite` is asked twice: of all photos, and of those without its thing. A logistic
regression of core and margin (`claid_ext.search.likely`) then learns which refined photos show it.

Measured is each set by a fit to the other one alone: precision and recall of the photos that are
said to be likely, over all positives, those that stage 2 never saw included; and by its best photo,
whether a thing is there at all (AUC). In brackets: 90 % bootstrap intervals over the queries. The
shipped numbers are fitted to both sets, weighing alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import claid_ext
import numpy as np
import sklearn
from claid_ext import Detector, InstanceIndex, Query, RegionDescriptor
from claid_ext.choices import EXPAND, REFINE
from claid_ext.evaluation.datasets import SearchSet
from claid_ext.evaluation.datasets.folder import load_folder
from claid_ext.evaluation.intervals import CONFIDENCE, RESAMPLES
from claid_ext.progress import progress
from claid_ext.search.finding import CORE_WEIGHT
from claid_ext.search.likely import LEAST_PHOTOS, QUARTILE, margins
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

SETS = ("search", "search_composite")
NETWORKS = {"detector": "focus_vits14", "descriptor": "efficientnet_lite0"}
SHIPPED = Path(claid_ext.__file__).parent / "search" / "data" / "likely.json"
THRESHOLD = 0.5  # more likely than not
CURVE = (0.3, 0.5, 0.7, 0.9)
DIGITS = 4
TOLERANCE = 0.02  # of the shipped numbers, between two machines


@dataclass(frozen=True)
class Asked:
    """A query's refined photos: (n, 2) core and margin, and whether each shows the thing.

    `positives` is how many photos show it, refined or not; 0 where they were left out.
    """

    features: np.ndarray
    shown: np.ndarray
    positives: int


def ask(folder: Path, work: Path) -> list[tuple[Asked, Asked]]:
    """Ask every query of a set with and without its thing; the answers are kept in `work`."""
    cache = work / f"{folder.name}.json"
    if cache.exists():
        rows = json.loads(cache.read_text(encoding="utf-8"))
        return [tuple(Asked(np.array(f), np.array(s, bool), p) for f, s, p in row) for row in rows]
    found = load_folder(folder)
    descriptor = RegionDescriptor(NETWORKS["descriptor"])
    path = work / f"index-{folder.name}"
    if path.exists():
        index = InstanceIndex.open(path, descriptor=descriptor)
    else:
        detector = Detector(NETWORKS["detector"], runtime="torch")
        index = InstanceIndex.create(path, descriptor=descriptor, detector=detector)
    with index:
        report = index.add([str(image) for image in found.images], progress=True)
        if report.failed:
            sys.exit(f"{report.failed[0]}")
        rows = [
            _ask_one(index, found, number)
            for number in progress(range(len(found.queries)), len(found.queries), folder.name)
        ]
    plain = [
        [[one.features.tolist(), one.shown.tolist(), one.positives] for one in r] for r in rows
    ]
    cache.write_text(json.dumps(plain), encoding="utf-8")
    return rows


def _ask_one(index: InstanceIndex, found: SearchSet, number: int) -> tuple[Asked, Asked]:
    query = found.queries[number]
    own = {str(found.images[i]) for i in query.junk}
    positives = {str(found.images[i]) for i in query.positives}
    prepared = index.prepare([Query(query.image, query.boxes)])
    asked = []
    for hidden in (own, own | positives):
        (hits,) = index.search(prepared, REFINE, images=lambda path, h=hidden: path not in h)
        hits.sort(key=lambda hit: -hit.similarity)  # the order of stage 1
        scores = np.array([[hit.score] for hit in hits])
        similarity = np.array([[hit.similarity] for hit in hits])
        above = margins(scores, len(index) - len(hidden))
        features = np.hstack([(scores - similarity) / CORE_WEIGHT, above])
        shown = np.array([hit.image in positives for hit in hits])
        asked.append(Asked(features, shown, len(positives - hidden)))
    return asked[0], asked[1]


def fit(sets: list[list[tuple[Asked, Asked]]]) -> LogisticRegression:
    """Fit to all refined photos of all queries, asked both ways; the sets weigh alike."""
    asked = [[one for row in rows for one in row] for rows in sets]
    weights = [np.full(sum(len(one.shown) for one in of_set), 1.0) for of_set in asked]
    both = [one for of_set in asked for one in of_set]
    return LogisticRegression(C=np.inf).fit(
        np.concatenate([one.features for one in both]),
        np.concatenate([one.shown for one in both]),
        np.concatenate([its / its.sum() for its in weights]) * sum(map(len, weights)),
    )


def measure(model: LogisticRegression, rows: list[tuple[Asked, Asked]]) -> dict[str, list[float]]:
    """Each figure with its interval: [value, low, high]."""

    def probable(one: Asked) -> np.ndarray:
        return model.predict_proba(one.features)[:, 1]

    each = [(probable(there), there, probable(gone)) for there, gone in rows]

    def at(threshold: float, figure: str) -> Callable[[np.ndarray], float]:
        told = np.array([(p >= threshold).sum() for p, _, _ in each])
        right = np.array([(p[one.shown] >= threshold).sum() for p, one, _ in each])
        wanted = np.array([one.positives for _, one, _ in each])
        below = told if figure == "precision" else wanted
        return lambda some: right[some].sum() / max(below[some].sum(), 1)

    tops = np.array([(p.max(), gone.max()) for p, _, gone in each])
    quiet = (tops[:, 1] < THRESHOLD).astype(float)
    loud = (tops[:, 0] >= THRESHOLD).astype(float)
    figures = {f"{f} at {t}": at(t, f) for t in CURVE for f in ("precision", "recall")}
    figures["AUC"] = lambda some: roc_auc_score(
        np.repeat([1, 0], len(some)), tops[some].T.reshape(-1)
    )
    figures["there, and something is likely"] = lambda some: loud[some].mean()
    figures["nowhere, and nothing is likely"] = lambda some: quiet[some].mean()
    every = np.arange(len(rows))
    drawn = np.random.default_rng(0).integers(0, len(rows), (RESAMPLES, len(rows)))
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    return {
        name: [float(figure(every)), *np.quantile([figure(some) for some in drawn], tails)]
        for name, figure in figures.items()
    }


def reliability(model: LogisticRegression, rows: list[tuple[Asked, Asked]]) -> list[str]:
    """Of photos with a probability in each fifth: how many, and which share shows the thing."""
    asked = [one for row in rows for one in row]
    probable = np.concatenate([model.predict_proba(one.features)[:, 1] for one in asked])
    shown = np.concatenate([one.shown for one in asked])
    place = np.minimum((5 * probable).astype(int), 4)
    return [
        f"{i / 5:.1f}-{(i + 1) / 5:.1f}: {shown[place == i].mean():.2f} of {(place == i).sum()}"
        for i in range(5)
        if (place == i).any()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the sets search and search_composite")
    parser.add_argument("--work", type=Path, default=Path("claid-likely"), help="folder of indexes")
    parser.add_argument("--output", type=Path, default=SHIPPED)
    parser.add_argument("--check", action="store_true", help="compare with it, and write nothing")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rows = {name: ask(args.data / name, args.work) for name in SETS}
    measured = {}
    for name, other in zip(SETS, SETS[::-1], strict=True):
        model = fit([rows[other]])
        measured[name] = measure(model, rows[name])
        print(f"{name}, fitted on {other}: {len(rows[name])} queries")
        for figure, (value, low, high) in measured[name].items():
            print(f"  {figure}: {value:.2f} [{low:.2f}-{high:.2f}]")
        print("  reliability:", "; ".join(reliability(model, rows[name])))
    model = fit(list(rows.values()))
    core, margin = model.coef_[0].tolist()
    calibration = {
        "network_sha256": RegionDescriptor(NETWORKS["descriptor"]).weights,
        **{"core": round(core, DIGITS), "margin": round(margin, DIGITS)},
        "intercept": round(float(model.intercept_[0]), DIGITS),
        "threshold": THRESHOLD,
    }
    numbers = ("core", "margin", "intercept")
    if args.check:
        (shipped,) = json.loads(args.output.read_text(encoding="utf-8"))["calibrations"]
        off = [n for n in numbers if abs(shipped[n] / calibration[n] - 1) > TOLERANCE]
        print("as shipped" if not off else f"differs from what is shipped in {', '.join(off)}")
        sys.exit(1 if off else 0)
    provenance = {
        "made_by": "bench/fit_likely.py",
        "networks": NETWORKS,
        "refine": REFINE,
        "expand": EXPAND,
        "least_photos": LEAST_PHOTOS,
        "quantile": QUARTILE,
        "library": f"scikit-learn {sklearn.__version__}, logistic regression without a penalty",
        "fitted_on": {n: {"queries": len(r), "judgements": _judged(r)} for n, r in rows.items()},
        "measured_by_a_fit_to_the_other_set": {
            name: {k: [round(v, 3) for v in its] for k, its in figures.items()}
            for name, figures in measured.items()
        },
    }
    content = {"calibrations": [{**calibration, "provenance": provenance}]}
    args.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{args.output}: {calibration}")


def _judged(rows: list[tuple[Asked, Asked]]) -> int:
    return sum(len(one.shown) for row in rows for one in row)


if __name__ == "__main__":
    main()
