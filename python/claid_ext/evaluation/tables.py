"""The paper's tables of section V on your own machine, our rows beside the paper's figures.

Each function takes the folder of the data, the setup to measure and `measure`, which does the
measuring (a `claid_ext.evaluation.measuring.Measurer`), and returns a `Table`. The set `name` is
looked for in DATA/name and, in a table of a single set, in DATA itself. In a table of several sets
a missing one leaves its columns empty, with a note under the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from claid_ext.evaluation import paper
from claid_ext.evaluation.datasets import SearchSet, load_search
from claid_ext.evaluation.intervals import CONFIDENCE
from claid_ext.evaluation.metrics import CUTOFFS
from claid_ext.evaluation.scoring import Scores
from claid_ext.evaluation.setup import Measure, Measurement, Setup
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
SEARCH_COLUMNS = ("mAP", "mAP@IoU0.5", "mIoU", "vectors/image", "kB/image", "largest kB")


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
    table = Table("Table I: instance search", [f"{s} {c}" for s in sets for c in CUTOFFS])
    if tuple(sets) == TABLE_1_SETS:
        for name, figures in paper.TABLE_1.items():
            table.add(name, "paper", figures)
    for setup in setups:
        results = {name: measure(search_set, setup) for name, search_set in found.items()}
        cells = [
            results[s].scores.average_precision[c] if s in results else None
            for s in sets
            for c in CUTOFFS
        ]
        table.add(_setup_name(setup), "ours", cells)
        notes += _unreadable(results)
    table.notes = notes
    return table


def table2(data: Path, setups: Sequence[Setup], measure: Measure) -> Table:
    """Table II: the 250 queries of INSTRE that show two things, against all its images."""
    folder = data / "instre"
    found = load_search("instre-m", folder if folder.is_dir() else data)
    found.check_files()
    table = Table("Table II: two things at once, INSTRE-M", list(CUTOFFS))
    for setup in setups:
        result = measure(found, setup)
        table.add(_setup_name(setup), "ours", _precisions(result))
        table.notes += _unreadable({found.name: result})
    table.notes.append(_NO_FIGURES)
    return table


def table3(
    data: Path, setups: Sequence[Setup], measure: Measure, sets: Sequence[str] = TABLE_1_SETS
) -> Table:
    """Table III: mean IoU of the returned box over the true positives."""
    found, notes = _find_sets(data, sets)
    table = Table("Table III: localisation, mIoU over the true positives", list(sets))
    for setup in setups:
        results = {name: measure(search_set, setup) for name, search_set in found.items()}
        cells = [results[s].scores.mean_iou if s in results else None for s in sets]
        table.add(_setup_name(setup), "ours", cells)
        notes += _unreadable(results)
    notes += [f"{name}: no truth boxes" for name, s in found.items() if not s.localised]
    table.notes = [*notes, _NO_FIGURES]
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
    table = Table("Table V: image retrieval, trapezoidal mAP", [*TABLE_5_SETS, *revisited])
    for name, figures in paper.TABLE_5.items():
        table.add(name, "paper", [*figures, *[None] * len(revisited)])
    for setup in setups:
        results = {name: measure(search_set, setup) for name, search_set in found.items()}
        cells = [results[s].scores.trapezoidal if s in results else None for s in table.columns]
        table.add(_setup_name(setup), "ours", cells)
        notes += _unreadable(results)
    table.notes = notes
    return table


def table6(data: Path, setup: Setup, measure: Measure, set_name: str = "instre") -> Table:
    """Table VI: seeds against random starts, dummies in or out, and the number of features."""
    found = find_set(data, set_name)
    table = Table(
        f"Table VI: seeds and dummies, {found.name}", [*CUTOFFS, "features", "features/image"]
    )
    for name, figures in paper.TABLE_6.items() if set_name == "instre" else ():
        table.add(name, "paper", [*figures, None])
    ways: dict[str, dict[str, Any]] = {
        "seeds, dummies in": {"dummies": True},
        "random, dummies out": {"detect": {**setup.detect, "init": "random"}},
        "seeds, dummies out": {},
    }
    for name, changes in ways.items():
        result = measure(found, setup.but(**changes))
        table.add(name, "ours", [*_precisions(result), result.features, result.features_per_image])
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
            table.add(name, "paper", paper.TABLE_7[name])
        result = measure(found, setup.but(backbone=name))
        table.add(name, "ours", _precisions(result))
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
                option, "ours", [float(value), *_precisions(result), result.features_per_image]
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
    rows: list[tuple[str, Measurement]] = []
    for folder in folders:
        found = load_search("folder", folder)
        found.check_files()
        rows += [(f"{found.name}, {_setup_name(s)}", measure(found, s)) for s in setups]
    stages = list(dict.fromkeys(stage for _, result in rows for stage in result.milliseconds))
    table = Table("Instance search", [*SEARCH_COLUMNS, *(f"{stage} ms" for stage in stages)])
    for name, result in rows:
        costs = [
            result.features_per_image,
            result.bytes_per_image / 1000,
            result.largest_bytes / 1000,
            *map(result.milliseconds.get, stages),
        ]
        if result.stage_1 is not None:
            blank: list[Cell] = [None] * len(costs)
            table.add(f"{name}, stage 1 alone", "ours", [*_estimates(result.stage_1), *blank])
            name = f"{name}, both stages"  # noqa: PLW2901 (what the rest of the row is called)
        table.add(name, "ours", [*_estimates(result.scores), *costs])
        table.notes += _unreadable({name: result})
    table.notes.append(
        f"in brackets: {CONFIDENCE:.0%} bootstrap interval over the queries; mAP over all images; "
        "kB: 1,000 bytes of what is stored of an image; times per image where the index is built, "
        "per query where it is searched"
    )
    return table


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
    return [result.scores.average_precision[name] for name in CUTOFFS]


def _estimates(scores: Scores) -> list[Cell]:
    """mAP, localised mAP and mIoU with their intervals."""
    figures = {
        "mAP-all": scores.average_precision["mAP-all"],
        "localised": scores.localised,
        "mean_iou": scores.mean_iou,
    }
    return [
        None if value is None else Estimate(value, *scores.interval(name))
        for name, value in figures.items()
    ]


def _setup_name(setup: Setup) -> str:
    layers = f" {'+'.join(setup.layer)}" if setup.layer else ""
    reduced = f", {setup.pca}-d" if setup.pca else ""
    detector = f" {setup.backbone}" if setup.regions == "detect" else ""
    if setup.regions_file is not None:
        detector = f" {Path(setup.regions_file.file).name}"
    return f"{setup.regions}{detector}, {setup.descriptor}{layers} {setup.pooling}{reduced}"


def _unreadable(results: dict[str, Measurement]) -> list[str]:
    return [
        f"{name}: {result.unreadable} image{'s' * (result.unreadable != 1)} could not be read"
        for name, result in results.items()
        if result.unreadable
    ]
