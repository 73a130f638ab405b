"""Average query expansion (Chum et al., ICCV 2007) for vectors alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claid_ext.index.paths import matching
from claid_ext.index.ranking import Scope, VectorQuery, rank_images
from claid_ext.vectors import unit

if TYPE_CHECKING:
    from claid_ext.search.searcher import Searcher

__all__ = ["expanded_vectors"]


def expanded_vectors(
    index: Searcher, vectors: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """Add to a query's vectors those of the best region of each of the best images.

    All count alike, as R-MAC, CAM-weight and BLCF publish it.

    Parameters
    ----------
    index : what is searched.
    vectors : float32 (B, D), of length 1, views of one thing.
    count : how many images.

    Returns
    -------
    float32 (B, D), of length 1.
    """
    total = vectors.astype(np.float64)
    with index.store.reading() as view:
        scope = Scope(matching(view.table.paths, None))
        (ranking,) = rank_images([VectorQuery(vectors)], count, view, scope)
        for best in ranking:
            region = best.regions[int(best.scores.argmax())]
            total += best.record.unit_vectors[region]
    return unit(total)
