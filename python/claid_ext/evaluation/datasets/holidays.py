"""INRIA Holidays: 500 queries among 1,491 photos (paper, Table V).

    ROOT/jpg/100000.jpg    the query of group 1000
    ROOT/jpg/100001.jpg    what should be found with it, and 100002.jpg, ...
    ROOT/jpg/100100.jpg    the query of group 1001

A file's number is 100 times its group plus its place in the group; place 0 is the query. The query
is in the database too and is left out of its own ranking, as junk. Queries are whole images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from claid_ext.evaluation.datasets.files import find_one, stem_table
from claid_ext.evaluation.datasets.sets import SearchQuery, SearchSet

__all__ = ["load_holidays"]

GROUP = 100


def load_holidays(root: str | Path) -> SearchSet:
    """Holidays from a folder of images, or from one that has them in `jpg/`.

    Raises FileNotFoundError if there are none, ValueError if a name is not a number of six digits
    or a group has no query or nothing to find.
    """
    folder = Path(root)
    pictures = stem_table(find_one(folder, ["jpg", "."], "folder of images"))
    wrong = [stem for stem in pictures if not (stem.isdigit() and len(stem) == 6)]
    if wrong:
        raise ValueError(f"{folder}: wanted images named like 100000.jpg, got {wrong[0]}")
    stems = sorted(pictures)
    numbers = np.array([int(stem) for stem in stems], dtype=np.int64)
    queries = []
    for group in np.unique(numbers // GROUP).tolist():
        members = np.flatnonzero(numbers // GROUP == group)
        if numbers[members[0]] % GROUP != 0:
            raise ValueError(f"{folder}: group {group} has no query {group * GROUP}.jpg")
        if len(members) < 2:
            raise ValueError(f"{folder}: group {group} has a query and nothing to find with it")
        stem = stems[members[0]]
        queries.append(
            SearchQuery(stem, pictures[stem], None, positives=members[1:], junk=members[:1])
        )
    return SearchSet("Holidays", tuple(pictures[stem] for stem in stems), tuple(queries))
