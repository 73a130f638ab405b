"""The paper's tables of section V on your own machine, our rows beside the paper's figures.

Each function takes the folder of the data, the setup to measure and `measure`, which does the
measuring (a `claid_ext.evaluation.measuring.Measurer`), and returns a `Table`. The set `name` is
looked for in DATA/name and, in a table of a single set, in DATA itself. In a table of several sets
a missing one leaves its columns empty, with a note under the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from claid_ext.errors import WeightsUnavailableError
from claid_ext.evaluation import paper
from claid_ext.evaluation.comparing import FIGURES, compare
from claid_ext.evaluation.datasets import SearchSet, load_search
from claid_ext.evaluation.intervals import CONFIDENCE
from claid_ext.evaluation.metrics import CUTOFFS
from claid_ext.evaluation.scoring import Scores
from claid_ext.evaluation.setup import LeftOutError, Measure, Measurement, Setup
from claid_ext.evaluation.systems import WHITENED, method_name, networks_name
from claid_ext.evaluation.table import Cell, Estimate, Table

__all__ = [
    "FIGURE_6_CONNECTIVITY",
    "FIGURE_6_DOMINANCE",
    "figure6",
    "find_set",
    "search_table",
    "table1",
    "table2",
    "table3",
    "table5",
    "table6",
    "table7",
]

TABLE_1_SETS = ("instance160", "instance335", "instre")
TABLE_5_SETS = ("holidays", "oxford5k", "paris6k")
REVISITED = ("roxford5k", "rparis6k")
TABLE_7_BACKBONES = tuple(paper.TABLE_7)
FIGURE_6_DOMINANCE = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
FIGURE_6_CONNECTIVITY = (0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)

_NO_FIGURES = "the paper's figures for this table are missing from our text of it"
COSTS = ("vectors/photo", "kB/photo", "ms/photo")
SEARCH_COSTS = ("vectors/photo", "kB/photo", "largest kB", "ms/photo")
_NO_COSTS = (None,) * len(COSTS)


def find_set(data: Path, name: str, alone: bool = True) -> SearchSet:
    """The set `name` in DATA/name or, if `alone`, in DATA; its images are checked to exist.

    Raises FileNotFoundError if it is in neither or images are missing.
    """
    folder = data / _folder(name)
    found = load_search(name, folder if folder.is_dir() or not alone else data)
    found.check_files()
    return found


def table1(
    data: Path, setups: Sequence[Setup], measure: Measure, sets: Sequence[str] = TABLE_1_SETS
) -> Table:
    """Table I: instance search on Instance-160, Instance-335 and INSTRE, one row per setup."""
    found, notes = _find_sets(data, sets)
    table = Table(
        "Table I: instance search", [*(f"{s} {c}" for s in sets for c in CUTOFFS), *COSTS]
    )
    if tuple(sets) == TABLE_1_SETS:
        for name, figures in paper.TABLE_1.items():
            table.add(name, "quoted", [*figures, *_NO_COSTS])
    for setup, results in _each(setups, found, measure, table):
        cells = [
            results[s].final.average_precision[c] if s in results else None
            for s in sets
            for c in CUTOFFS
        ]
        table.add(_row_name(setup, results), "measured", [*cells, *_costs(results)])
    table.notes = [*notes, *table.notes]
    return table


def table2(data: Path, setups: Sequence[Setup], measure: Measure) -> Table:
    """Table II: the 250 queries of INSTRE that show two things, against all its images."""
    folder = data / "instre"
    found = load_search("instre-m", folder if folder.is_dir() else data)
    found.check_files()
    table = Table("Table II: two things at once, INSTRE-M", [*CUTOFFS, *COSTS])
    for setup, results in _each(setups, {found.name: found}, measure, table):
        result = results[found.name]
        cells = [*_precisions(result), *_costs(results)]
        table.add(_row_name(setup, results), "measured", cells)
    table.notes.append(_NO_FIGURES)
    return table


def table3(
    data: Path, setups: Sequence[Setup], measure: Measure, sets: Sequence[str] = TABLE_1_SETS
) -> Table:
    """Table III: mean IoU of the returned box over the true positives."""
    found, notes = _find_sets(data, sets)
    table = Table("Table III: localisation, mIoU over the true positives", [*sets, *COSTS])
    boxes = [setup for setup in setups if setup.finds_boxes]
    for setup, results in _each(boxes, found, measure, table):
        cells = [results[s].final.mean_iou if s in results else None for s in sets]
        table.add(_row_name(setup, results), "measured", [*cells, *_costs(results)])
    others = dict.fromkeys(method_name(setup) for setup in setups if not setup.finds_boxes)
    if others:
        notes.append(
            f"left out, since they say of a photo only that it is alike: {', '.join(others)}"
        )
    notes += [f"{name}: no truth boxes" for name, s in found.items() if not s.localised]
    table.notes = [*notes, *table.notes, _NO_FIGURES]
    return table


def table5(data: Path, setups: Sequence[Setup], measure: Measure) -> Table:
    """Table V: image retrieval on Holidays, Oxford5k, Paris6k; and the revisited sets if there."""
    found, notes = _find_sets(data, TABLE_5_SETS, REVISITED)
    revisited = [
        f"{name}-{protocol}"
        for name in REVISITED
        if (data / name).is_dir()
        for protocol in ("easy", "medium", "hard")
    ]
    found |= {name: find_set(data, name, alone=False) for name in revisited}
    columns = [*TABLE_5_SETS, *revisited]
    table = Table("Table V: image retrieval, trapezoidal mAP", [*columns, *COSTS])
    for name, figures in paper.TABLE_5.items():
        table.add(name, "quoted", [*figures, *[None] * len(revisited), *_NO_COSTS])
    for setup, results in _each(setups, found, measure, table):
        cells = [results[s].final.trapezoidal if s in results else None for s in columns]
        table.add(_row_name(setup, results), "measured", [*cells, *_costs(results)])
    table.notes = [*notes, *table.notes]
    return table


def table6(data: Path, setup: Setup, measure: Measure, set_name: str = "instre") -> Table:
    """Table VI: seeds against random starts, dummies in or out, and the number of features."""
    found = find_set(data, set_name)
    table = Table(
        f"Table VI: seeds and dummies, {found.name}", [*CUTOFFS, "features", "features/image"]
    )
    for name, figures in paper.TABLE_6.items() if set_name == "instre" else ():
        table.add(name, "quoted", [*figures, None])
    ways: dict[str, dict[str, Any]] = {
        "seeds, dummies in": {"dummies": True},
        "random, dummies out": {"detect": {**setup.detect, "init": "random"}},
        "seeds, dummies out": {},
    }
    for name, changes in ways.items():
        result = measure(found, setup.but(**changes))
        table.add(
            name, "measured", [*_precisions(result), result.features, result.features_per_image]
        )
    table.notes = _unreadable({found.name: result})
    return table


def table7(
    data: Path,
    setup: Setup,
    measure: Measure,
    *,
    backbones: Sequence[str] = TABLE_7_BACKBONES,
    set_name: str = "instre",
) -> Table:
    """Table VII: the detector's backbone; the descriptor stays what it is."""
    found = find_set(data, set_name)
    table = Table(f"Table VII: the detector's backbone, {found.name}", list(CUTOFFS))
    for name in backbones:
        if set_name == "instre" and name in paper.TABLE_7:
            table.add(name, "quoted", paper.TABLE_7[name])
        result = measure(found, setup.but(backbone=name))
        table.add(name, "measured", _precisions(result))
    return table


def figure6(
    data: Path,
    setup: Setup,
    measure: Measure,
    *,
    dominance: Sequence[float] = FIGURE_6_DOMINANCE,
    connectivity: Sequence[float] = FIGURE_6_CONNECTIVITY,
    set_name: str = "instance160",
) -> Table:
    """Fig. 6: the two thresholds, each varied while the other stays at the paper's 0.97 or 0.2."""
    found = find_set(data, set_name)
    table = Table(f"Figure 6: sensitivity, {found.name}", ["threshold", *CUTOFFS, "features/image"])
    for option, values in (("dominance", dominance), ("connectivity", connectivity)):
        for value in values:
            result = measure(found, setup.but(detect={**setup.detect, option: value}))
            table.add(
                option, "measured", [float(value), *_precisions(result), result.features_per_image]
            )
    table.notes = [
        "the paper's curves are missing from our text of it; it says that search is more "
        "sensitive to dominance than to connectivity"
    ]
    return table


def search_table(
    data: Path, setups: Sequence[Setup], measure: Measure, sets: Sequence[str] | None = None
) -> Table:
    """Any sets in the JSON layout: mAP, localised mAP, mIoU, vectors per image, time by stage.

    sets: folders in `data`; by default every one that has a queries.json, or `data` itself.
    """
    folders = (
        [data / name for name in sets]
        if sets is not None
        else sorted(path.parent for path in data.glob("*/queries.json")) or [data]
    )
    rows: list[tuple[str, Setup, Measurement]] = []
    left_out = Table("", [])
    for folder in folders:
        found = load_search("folder", folder)
        found.check_files()
        for setup, results in _each(setups, {found.name: found}, measure, left_out):
            rows.append((found.name, setup, results[found.name]))
    stages = list(dict.fromkeys(stage for *_, result in rows for stage in result.milliseconds))
    table = Table(
        "Instance search",
        [
            *FIGURES,
            *(f"{name} + QE" for name in FIGURES),
            *SEARCH_COSTS,
            *(f"{s} ms" for s in stages),
        ],
    )
    for set_name, setup, result in rows:
        name = f"{set_name}: {_row_name(setup, {})}"
        costs = [
            result.features_per_image,
            result.bytes_per_image / 1000,
            result.largest_bytes / 1000,
            result.milliseconds_per_image,
            *map(result.milliseconds.get, stages),
        ]
        if result.stage_1 is not None:
            alone = _both_ways(result.stage_1, result.stage_1_expanded, setup)
            blank: list[Cell] = [None] * len(costs)
            table.add(f"{name}, stage 1 alone", "measured", [*alone, *blank])
            name = f"{name}, both stages"
        table.add(name, "measured", [*_both_ways(result.scores, result.expanded, setup), *costs])
    table.above = compare(table, [set_name for set_name, *_ in rows])
    table.notes = [*dict.fromkeys(left_out.notes), *_learned_where(rows)]
    table.notes.append(
        f"in brackets: {CONFIDENCE:.0%} bootstrap interval over the queries; mAP over all images; "
        "QE: queries expanded by the best few images; kB: 1,000 bytes of what is stored of an "
        "image; times per image where the index is built (ms/photo is their sum), per query where "
        "it is searched"
    )
    return table


def _each(
    setups: Sequence[Setup], sets: dict[str, SearchSet], measure: Measure, table: Table
) -> Iterator[tuple[Setup, dict[str, Measurement]]]:
    """Measure each setup on all sets; those that cannot be run here are noted under the table."""
    left_out: dict[str, list[str]] = {}
    for setup in setups:
        try:
            results = {name: measure(search_set, setup) for name, search_set in sets.items()}
        except (LeftOutError, WeightsUnavailableError, ImportError) as error:
            reason = str(error).strip().partition("\n")[0]
            left_out.setdefault(reason, []).append(_row_name(setup, {}))
            continue
        table.notes += _unreadable(results)
        yield setup, results
    for reason, names in left_out.items():
        table.notes.append(f"left out: {', '.join(names)}: {reason}")


def _learned_where(rows: Sequence[tuple[str, Setup, Measurement]]) -> list[str]:
    """What says on which photos the systems have learned."""
    notes = []
    words = {name: result.words for name, _, result in rows if result.words is not None}
    if words:
        counts = ", ".join(f"{count:,} on {name}" for name, count in words.items())
        notes.append(
            "BLCF's whitening and words are learned on the photos that are searched, as published; "
            f"25,000 words need a million cells, here there are {counts}"
        )
    for folder in dict.fromkeys(s.whitening for _, s, _ in rows if s.vectors in WHITENED):
        notes.append(
            "the whitening of R-MAC and CAM-weight is learned on other photos than have the things "
            f"that are searched for, those of {Path(folder or '').name}/"
        )
    if any(setup.pooling == "whitened" for _, setup, _ in rows if setup.vectors == "network"):
        notes.append(
            "our vectors, of whatever regions, are whitened by the index's own photos, without "
            "labels, as an index does by default"
        )
    return notes


def _find_sets(
    data: Path, names: Sequence[str], others: Sequence[str] = ()
) -> tuple[dict[str, SearchSet], list[str]]:
    """The sets that are there, and a note for each missing one; none at all is an error."""
    if not data.is_dir():
        raise FileNotFoundError(f"{data}: no such folder")
    there = [name for name in names if (data / _folder(name)).is_dir()]
    if not there and not any((data / other).is_dir() for other in others):
        wanted = ", ".join(f"{name}/" for name in (*names, *others))
        raise FileNotFoundError(f"{data}: none of {wanted} is there")
    notes = [f"{n}: no folder {_folder(n)}/ in the data" for n in names if n not in there]
    return {name: find_set(data, name, alone=False) for name in there}, notes


def _folder(name: str) -> str:
    return name.partition("-")[0]


def _precisions(result: Measurement) -> list[Cell]:
    return [result.final.average_precision[name] for name in CUTOFFS]


def _costs(results: dict[str, Measurement]) -> list[Cell]:
    """Means over the images of all sets; times of the first."""
    images = sum(result.images for result in results.values()) or math.nan
    first = next(iter(results.values()))
    return [
        sum(result.features for result in results.values()) / images,
        sum(result.bytes_per_image * result.images for result in results.values()) / images / 1000,
        first.milliseconds_per_image,
    ]


def _both_ways(scores: Scores, expanded: Scores | None, setup: Setup) -> list[Cell]:
    """mAP, localised mAP and mIoU with their intervals, and the same with queries expanded."""
    return [
        cell
        for its in (scores, expanded)
        for cell in (_estimates(its, setup.finds_boxes) if its else [None] * len(FIGURES))
    ]


def _estimates(scores: Scores, boxes: bool) -> list[Cell]:
    figures = {
        "mAP-all": scores.average_precision["mAP-all"],
        "localised": scores.localised if boxes else None,
        "mean_iou": scores.mean_iou if boxes else None,
    }
    return [
        None if value is None else Estimate(value, *scores.interval(name))
        for name, value in figures.items()
    ]


def _row_name(setup: Setup, results: dict[str, Measurement]) -> str:
    """Name a row by its method and its networks, and say how it was searched."""
    stages = ", both stages" if any(r.stage_1 is not None for r in results.values()) else ""
    expanded = " + QE" if any(r.expanded is not None for r in results.values()) else ""
    return f"{method_name(setup)} ({networks_name(setup)}){stages}{expanded}"


def _unreadable(results: dict[str, Measurement]) -> list[str]:
    return [
        f"{name}: {result.unreadable} image{'s' * (result.unreadable != 1)} could not be read"
        for name, result in results.items()
        if result.unreadable
    ]
