"""The hits of a query as a ranking of a set's images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from claid_ext.evaluation.scoring import Ranking

if TYPE_CHECKING:
    from claid_ext.search import Hit

__all__ = ["ranking_of"]


def ranking_of(hits: Sequence[Hit], images: Sequence[Path]) -> Ranking:
    """Return hits as a ranking that names images by their place in a set.

    hits: of one query, best first. images: the set's images. Hits that are none of them are left
    out.
    """
    place = {os.path.abspath(image): number for number, image in enumerate(images)}  # noqa: PTH100
    known = [hit for hit in hits if hit.image in place]
    return Ranking(
        np.array([place[hit.image] for hit in known], np.int64),
        np.array([hit.box for hit in known], np.float64).reshape(-1, 4),
    )
