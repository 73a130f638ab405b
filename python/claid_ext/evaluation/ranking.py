"""Every image of an index ranked for every query: what mAP over all images needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from claid_ext.evaluation.metrics import rank
from claid_ext.evaluation.scoring import Ranking

if TYPE_CHECKING:
    from claid_ext.search import InstanceIndex

__all__ = ["rank_set"]


def rank_set(
    index: InstanceIndex, queries: Sequence[npt.NDArray[np.float32]], images: Sequence[Path]
) -> Iterator[Ranking]:
    """Yield, for each query, all images of an index by their best region.

    queries: of each, the float32 (b, D) vectors of its boxes, as `InstanceIndex.describe` gives
    them; the best of them counts. images: the set's images; a ranking names them by their place
    here. Images of the index that are not among them are left out, and so is what it lacks.
    """
    paths, scores, boxes = index.rank_everything(queries)
    place = {os.path.abspath(image): number for number, image in enumerate(images)}  # noqa: PTH100
    known = np.array([row for row, path in enumerate(paths) if path in place], np.int64)
    numbers = np.array([place[paths[row]] for row in known.tolist()], np.int64)
    for its_scores, its_boxes in zip(scores[:, known], boxes[:, known], strict=True):
        order = rank(its_scores)
        order = order[np.isfinite(its_scores[order])]
        yield Ranking(numbers[order], its_boxes[order].astype(np.float64))
