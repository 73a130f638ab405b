"""INSTRE and INSTRE-M: 1,250 queries, 27,293 images (paper, Tables I to III, VI and VII).

    ROOT/INSTRE-S1/01a_canada_book/001.jpg   an image
    ROOT/INSTRE-S1/01a_canada_book/001.txt   its boxes, one per line: x y width height
    ROOT/INSTRE-S2/...  ROOT/INSTRE-M/01/...
    ROOT/gnd_instre.json | .pkl | .mat       imlist, qimlist, gnd[]: ok, bbx

The list `ok` counts from **1**, while `bbx` is x0, y0, x1, y1; the numbers are converted here,
once, to places in `SearchSet.images`, which count from 0.

A query of INSTRE-M asks for two things with one box around both. Its positives are the images of
both (in INSTRE-M) and those of either (in INSTRE-S1); in the former the truth is the box around all
lines. No file says which line of an image of INSTRE-M is which of its two things, so for a query of
a single thing a returned box is measured against the better one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from claid_ext.evaluation.datasets.files import find_one, read_ground_truth
from claid_ext.evaluation.datasets.sets import SearchQuery, SearchSet
from claid_ext.files import get
from claid_ext.overlap import check_boxes

__all__ = ["load_instre", "read_instre_boxes"]

FloatArray = npt.NDArray[np.float64]

GROUND_TRUTH = [f"gnd_instre.{kind}" for kind in ("json", "pkl", "mat")]
MULTIPLE = "INSTRE-M"


def load_instre(root: str | Path, *, multiple_only: bool = False) -> SearchSet:
    """INSTRE from its folder; with `multiple_only` the 250 queries of INSTRE-M alone (Table II).

    All images stay in the database either way. Truth boxes are read where every positive of the
    set has its .txt file; otherwise the set has none.
    Raises FileNotFoundError if the folder or the ground truth is missing, ValueError if a list is
    not one that counts from 1 or is laid out otherwise.
    """
    folder = Path(root)
    path = find_one(folder, GROUND_TRUTH, "ground truth of INSTRE")
    truth = read_ground_truth(path)
    count = len(truth["imlist"])
    boxes: dict[int, FloatArray | None] = {}
    around: dict[int, FloatArray | None] = {}
    queries = []
    for name, entry in zip(truth["qimlist"], truth["gnd"], strict=True):
        several = _is_pair(name)
        if multiple_only and not several:
            continue
        listed = np.atleast_1d(np.asarray(get(entry, "ok", path, f"gnd of {name}"), dtype=np.int64))
        if len(listed) and not 1 <= listed.min() <= listed.max() <= count:
            raise ValueError(
                f"{path}: query {name}: ok: wanted numbers from 1 to {count}, "
                f"got {listed.min()} to {listed.max()}"
            )
        positives = np.unique(listed) - 1
        for place in positives.tolist():
            if place not in boxes:
                text = (folder / truth["imlist"][place]).with_suffix(".txt")
                boxes[place] = read_instre_boxes(text) if text.is_file() else None
                pair = _is_pair(truth["imlist"][place])
                around[place] = _around(boxes[place]) if pair else boxes[place]
        queries.append(
            SearchQuery(
                name=name,
                image=folder / name,
                boxes=check_boxes(
                    get(entry, "bbx", path, f"gnd of {name}"), f"{path}: {name}: bbx"
                ),
                positives=positives,
                truths=_truths([around[n] if several else boxes[n] for n in positives.tolist()]),
            )
        )
    if any(query.truths is None for query in queries):
        queries = [
            SearchQuery(query.name, query.image, query.boxes, query.positives) for query in queries
        ]
    return SearchSet(
        name="INSTRE-M" if multiple_only else "INSTRE",
        images=tuple(folder / name for name in truth["imlist"]),
        queries=tuple(queries),
    )


def read_instre_boxes(path: Path) -> FloatArray:
    """The boxes of one image, float64 (n, 4) as x0, y0, x1, y1, from lines `x y width height`."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        values = np.array([[float(word) for word in line] for line in lines], dtype=np.float64)
    except ValueError:
        raise ValueError(f"{path}: wanted lines of four numbers: x y width height") from None
    if values.ndim != 2 or values.shape[1] != 4:
        raise ValueError(f"{path}: wanted lines of four numbers: x y width height")
    return check_boxes(np.hstack([values[:, :2], values[:, :2] + values[:, 2:]]), str(path))


def _is_pair(name: str) -> bool:
    return name.split("/", maxsplit=1)[0] == MULTIPLE


def _around(boxes: FloatArray | None) -> FloatArray | None:
    if boxes is None or not len(boxes):
        return boxes
    return np.hstack([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])[None]


def _truths(boxes: list[FloatArray | None]) -> tuple[FloatArray, ...] | None:
    known = tuple(box for box in boxes if box is not None)
    return known if len(known) == len(boxes) else None
