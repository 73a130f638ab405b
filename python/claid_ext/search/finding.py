"""From a query's vectors to hits: stage 1, and what is said of each image found."""

from __future__ import annotations

from collections.abc import Sequence

from claid_ext.index.paths import ImageFilter, matching
from claid_ext.index.ranking import Best, Scope, VectorQuery, rank_images
from claid_ext.index.store import Store
from claid_ext.search.query import Hit

__all__ = ["find"]


def find(
    store: Store,
    queries: Sequence[VectorQuery],
    k: int,
    *,
    min_size: float = 0.0,
    images: ImageFilter | None = None,
) -> list[list[Hit]]:
    """Return the hits of each query, best first; arguments as `InstanceIndex.search`."""
    with store.reading() as view:
        table = view.table
        scope = Scope(matching(table.paths, images), min_size)
        rankings = rank_images(queries, k, view, scope)
    place = dict(zip(table.ids.tolist(), table.paths, strict=True))
    return [
        [_hit(best, place[best.image], query.all_of) for best in ranking]
        for query, ranking in zip(queries, rankings, strict=True)
    ]


def _hit(best: Best, path: str, all_of: bool) -> Hit:
    regions = best.record.regions
    parts = tuple(
        Hit(path, tuple(regions.boxes[i].tolist()), float(score), int(regions.level[i]))
        for i, score in zip(best.regions.tolist(), best.scores.tolist(), strict=True)
    )
    top = max(parts, key=lambda part: part.score)
    return Hit(path, top.box, best.score, top.level, parts if all_of else ())
