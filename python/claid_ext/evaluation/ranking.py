"""Every image of an index ranked for every query, exactly, in one pass over the vectors.

mAP over all images needs the whole database in order, for a thousand queries or more. A search for
the best k is made for small k; asked for everything it would read all vectors once a query. Here
they are read once for all queries. The answer is that of `InstanceIndex.search` on a Flat index:
an image's score is its best region's, and equal scores go to the image that was added first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from claid_ext.evaluation.metrics import rank
from claid_ext.evaluation.scoring import Ranking
from claid_ext.index.store import Store
from claid_ext.index.whitening import Whitening

__all__ = ["count_vectors", "rank_everything"]

FloatArray = npt.NDArray[np.float32]

IMAGES_AT_ONCE = 500


def rank_everything(
    folder: Path, queries: Sequence[FloatArray], images: Sequence[Path]
) -> Iterator[Ranking]:
    """Yield, for each query, all images of the index in `folder` by their best region.

    queries: of each, the float32 (b, D) vectors of its boxes, as `InstanceIndex.describe` gives
    them; the best of them counts. images: the set's images; a ranking names them by their place
    here. Images of the index that are not among them are left out, and so is what it lacks.
    """
    if not queries:
        return
    with closing(Store(folder)) as store:
        table = store.images()
        place = {os.path.abspath(image): number for number, image in enumerate(images)}  # noqa: PTH100
        known = [row for row in np.argsort(table.ids).tolist() if table.paths[row] in place]
        ids = table.ids[known]
        numbers = np.array([place[table.paths[row]] for row in known], dtype=np.int64)
        content = store.get("whitening")
        whiten = Whitening.from_bytes(content) if content else None
        asked = np.concatenate(queries)
        scores, regions = _best_regions(store, ids, whiten(asked) if whiten else asked, queries)
        found = store.regions(ids)
    stored = [found.get(image, []) for image in ids.tolist()]
    first = np.cumsum([0, *(len(its) for its in stored)])
    boxes = np.array([region.box for its in stored for region in its]).reshape(-1, 4)
    for row, best in zip(scores, regions, strict=True):
        order = rank(row)
        order = order[np.isfinite(row[order])]
        yield Ranking(numbers[order], boxes[first[order] + best[order]])


def _best_regions(
    store: Store, ids: npt.NDArray[np.int64], asked: FloatArray, queries: Sequence[FloatArray]
) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """The best score of each image and the region that has it, (queries, images) each.

    An image without regions has -inf.
    """
    first = np.cumsum([0, *(len(its) for its in queries[:-1])])
    scores = np.full((len(queries), len(ids)), -np.inf, dtype=np.float32)
    regions = np.zeros((len(queries), len(ids)), dtype=np.int32)
    column = {image: number for number, image in enumerate(ids.tolist())}
    for start in range(0, len(ids), IMAGES_AT_ONCE):
        for image, vectors in store.vectors(ids[start : start + IMAGES_AT_ONCE], asked.shape[1]):
            if len(vectors):
                similar = np.maximum.reduceat(asked @ vectors.T, first, axis=0)
                regions[:, column[image]] = similar.argmax(axis=1)
                scores[:, column[image]] = similar.max(axis=1)
    return scores, regions


def count_vectors(folder: Path) -> int:
    """How many vectors the index in `folder` holds."""
    with closing(Store(folder)) as store:
        return int(store.images().counts.sum())
