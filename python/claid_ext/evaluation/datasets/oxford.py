"""Oxford5k and Paris6k, classic (paper, Table V) and revisited (Radenovic et al., CVPR 2018).

Classic, 55 queries in 11 landmarks:
    ROOT/jpg/**/all_souls_000013.jpg
    ROOT/gt/all_souls_1_query.txt    one line: name x0 y0 x1 y1; in Oxford5k the name has `oxc1_`
    ROOT/gt/all_souls_1_good.txt, _ok.txt, _junk.txt    names, one per line
Good and ok are positives, the query's own image among them, as in the sets' own tool.

Revisited, 70 queries that are not in the database:
    ROOT/jpg/**/*.jpg
    ROOT/gnd_roxford5k.json | .pkl | .mat    imlist, qimlist, gnd[]: bbx, easy, hard, junk
whose lists count from 0 (in the .mat file from 1).

Queries are cropped to their box, as the sets' protocol demands.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from claid_ext.evaluation.datasets.files import find_one, read_ground_truth, stem_table
from claid_ext.evaluation.datasets.sets import SearchQuery, SearchSet
from claid_ext.evaluation.metrics import Protocol, revisited_truth
from claid_ext.files import get
from claid_ext.overlap import check_boxes

__all__ = ["load_oxford_paris", "load_revisited"]

IntArray = npt.NDArray[np.int64]

PREFIX = "oxc1_"
LISTS = ("good", "ok", "junk")


def load_oxford_paris(root: str | Path, name: str = "Oxford5k") -> SearchSet:
    """Oxford5k or Paris6k from its folder.

    Every image under jpg/ is in the database; some of Paris6k's are damaged and cannot be read.
    Raises FileNotFoundError if a folder or a list is missing, ValueError if a list names an image
    that is not there or a query's line is laid out otherwise.
    """
    folder = Path(root)
    lists = find_one(
        folder, ["gt", "gt_files", "gt_files_170407", "paris_120310"], "folder of lists"
    )
    pictures = stem_table(find_one(folder, ["jpg", "images"], "folder of images"))
    place = {stem: number for number, stem in enumerate(pictures)}
    queries = []
    for path in sorted(lists.glob("*_query.txt")):
        landmark = path.name.removesuffix("_query.txt")
        words = path.read_text(encoding="utf-8").split()
        if len(words) != 5:
            raise ValueError(f"{path}: wanted one line: name x0 y0 x1 y1")
        stem = words[0].removeprefix(PREFIX)
        if stem not in pictures:
            raise ValueError(f"{path}: no image {stem} under {folder}")
        good, ok, junk = (_read_list(lists / f"{landmark}_{kind}.txt", place) for kind in LISTS)
        queries.append(
            SearchQuery(
                name=landmark,
                image=pictures[stem],
                boxes=check_boxes([float(word) for word in words[1:]], str(path)),
                positives=np.union1d(good, ok),
                junk=junk,
            )
        )
    if not queries:
        raise FileNotFoundError(f"{lists}: no *_query.txt there")
    return SearchSet(name, tuple(pictures.values()), tuple(queries))


def load_revisited(root: str | Path, name: str, protocol: Protocol = "medium") -> SearchSet:
    """Revisited Oxford5k or Paris6k (name: "roxford5k" or "rparis6k") under one protocol.

    Raises FileNotFoundError if the folder, the ground truth or an image is missing, ValueError on
    another name or layout.
    """
    if name not in ("roxford5k", "rparis6k"):
        raise ValueError(f"name: wanted 'roxford5k' or 'rparis6k', got {name!r}")
    folder = Path(root)
    path = find_one(
        folder, [f"gnd_{name}.{kind}" for kind in ("json", "pkl", "mat")], f"gnd_{name}"
    )
    truth = read_ground_truth(path)
    first = 1 if path.suffix == ".mat" else 0
    pictures = folder / "jpg"
    table = stem_table(pictures) if pictures.is_dir() else {}
    queries = []
    for stem, entry in zip(truth["qimlist"], truth["gnd"], strict=True):
        easy, hard, junk = (
            np.asarray(get(entry, kind, path, f"gnd of {stem}"), dtype=np.int64).reshape(-1) - first
            for kind in ("easy", "hard", "junk")
        )
        positives, ignored = revisited_truth(easy, hard, junk, protocol)
        queries.append(
            SearchQuery(
                name=stem,
                image=table.get(stem, pictures / f"{stem}.jpg"),
                boxes=check_boxes(
                    get(entry, "bbx", path, f"gnd of {stem}"), f"{path}: {stem}: bbx"
                ),
                positives=positives,
                junk=ignored,
            )
        )
    images = tuple(table.get(stem, pictures / f"{stem}.jpg") for stem in truth["imlist"])
    return SearchSet(f"{name} ({protocol})", images, tuple(queries))


def _read_list(path: Path, place: dict[str, int]) -> IntArray:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    stems = path.read_text(encoding="utf-8").split()
    unknown = [stem for stem in stems if stem not in place]
    if unknown:
        raise ValueError(f"{path}: no image {unknown[0]} in the database")
    return np.unique(np.array([place[stem] for stem in stems], dtype=np.int64))
