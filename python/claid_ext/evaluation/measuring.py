"""Measure a setup on a set: build its index, run its queries, score the answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from claid_ext.errors import ClaidError
from claid_ext.evaluation.caching import ForwardCache
from claid_ext.evaluation.datasets import SearchSet
from claid_ext.evaluation.engines import BagEngine, Engine, OpenedEngine
from claid_ext.evaluation.making import Maker
from claid_ext.evaluation.metrics import Denominator
from claid_ext.evaluation.scoring import Ranking, Scores, score
from claid_ext.evaluation.setup import Measurement, Setup
from claid_ext.stage_times import StageTimes

if TYPE_CHECKING:
    from claid_ext.search import Query

__all__ = ["Measurer"]

T = TypeVar("T")

TIMED = 12  # images, and queries, that the stages are timed on,
TIMED_SECONDS = 5.0  # or, of each, fewer than would take longer, but two


@dataclass
class Measurer:
    """Measures setups on sets; call it with both.

    work: the folder of the indexes, one for each set and setup. An interrupted run resumes there,
    and images that are indexed already are not processed again. cache: a folder where what networks
    give is kept, so that systems that share one run it once; None for none. index, dataset: what to
    search in place of indexes of its own, as of `claid_ext.open_index`; it must hold the sets.
    running: what then runs its networks, arguments of `open_index`.
    """

    work: Path
    denominator: Denominator = "min"
    show_progress: bool = True
    cache: InitVar[Path | None] = None
    index: str | None = None
    dataset: str | None = None
    running: Mapping[str, Any] = field(default_factory=dict)
    maker: Maker = field(init=False, repr=False)

    def __post_init__(self, cache: Path | None) -> None:
        """Make what makes networks."""
        self.maker = Maker(self.work, ForwardCache(cache))

    def __call__(self, search_set: SearchSet, setup: Setup) -> Measurement:
        """Build or complete the index of the set, run all of its queries, score the answers.

        Times are taken on a few images and queries, one at a time after a warm-up, so they do not
        depend on how much of the index an earlier run had built.

        Raises
        ------
        LeftOutError, WeightsUnavailableError : what the setup needs is missing.
        """
        from claid_ext.search import Query

        with closing(self._engine(search_set, setup)) as engine:
            unreadable = engine.add(self.show_progress)
            queries = [Query(query.image, query.boxes) for query in search_set.queries]
            ways = _ways(setup)
            rankings: dict[tuple[int, int], list[Ranking]] = {way: [] for way in ways}
            for query in self._progress(queries):
                prepared = engine.prepare(query)
                for way in ways:
                    if way[0] == setup.refine or engine.has_two_stages(prepared):
                        rankings[way].append(engine.rank(prepared, *way, StageTimes()))
            scores: dict[tuple[int, int], Scores] = {
                way: score(search_set, found, self.denominator)
                for way, found in rankings.items()
                if found
            }
            sizes = engine.record_bytes()
            return Measurement(
                scores=scores[setup.refine, 0],
                expanded=scores.get((setup.refine, setup.expand)) if setup.expand else None,
                stage_1=scores.get((0, 0)) if setup.refine else None,
                stage_1_expanded=scores.get((0, setup.expand))
                if setup.refine and setup.expand
                else None,
                words=engine.words if isinstance(engine, BagEngine) else None,
                features=engine.features,
                images=engine.images,
                bytes_per_image=float(sizes.mean()) if len(sizes) else 0.0,
                largest_bytes=int(sizes.max(initial=0)),
                milliseconds=self._time_stages(engine, search_set, queries, setup),
                unreadable=unreadable,
            )

    def _engine(self, search_set: SearchSet, setup: Setup) -> Engine:
        if self.index is None:
            return self.maker.engine(search_set, setup)
        from claid_ext.search import open_index

        opened = open_index(self.index, dataset=self.dataset, device=setup.device, **self.running)
        return OpenedEngine(opened, search_set.images)

    def _progress(self, queries: list[Any]) -> Iterator[Any]:
        from claid_ext.progress import progress

        return progress(
            queries, len(queries), "queries", "query", disable=None if self.show_progress else True
        )

    def _time_stages(
        self, engine: Engine, search_set: SearchSet, queries: list[Query], setup: Setup
    ) -> dict[str, float]:
        """Milliseconds of each stage, the median over a few images and queries of the set."""
        with self.maker.cache.paused():
            return _time_stages(engine, search_set, queries, setup)


def _ways(setup: Setup) -> list[tuple[int, int]]:
    """How a setup is searched: (refine, expand), both stages and stage 1 alone, each expanded too.

    Where the setup does not refine, the two are one.
    """
    both = [(refine, expand) for refine in (setup.refine, 0) for expand in (0, setup.expand)]
    return list(dict.fromkeys(both))


def _time_stages(
    engine: Engine, search_set: SearchSet, queries: list[Query], setup: Setup
) -> dict[str, float]:
    from claid_ext.images import read_photo

    seconds: dict[str, list[float]] = {}

    def keep(times: StageTimes) -> None:
        for stage, taken in times.seconds.items():
            seconds.setdefault(stage, []).append(taken)

    for path in _in_time(_spread(search_set.images)):
        times = StageTimes()
        try:
            with times.stage("read"):
                photo = read_photo(path)
            engine.describe(photo, times)
        except (ClaidError, ValueError):  # counted as unreadable already
            continue
        keep(times)
    for query in _in_time(_spread(queries)):
        times = StageTimes()
        with times.stage("query"):
            prepared = engine.prepare(query)
        engine.rank(prepared, setup.refine, setup.expand, times)
        keep(times)
    # The first of each is the warm-up, unless it is all there is.
    return {name: 1000 * float(np.median(all_[1:] or all_)) for name, all_ in seconds.items()}


def _in_time(items: Sequence[T]) -> Iterator[T]:
    """Yield items until the time is over, two at least."""
    start = time.monotonic()
    for number, item in enumerate(items):
        if number >= 2 and time.monotonic() - start > TIMED_SECONDS:
            return
        yield item


def _spread(items: Sequence[T]) -> list[T]:
    places = np.linspace(0, len(items) - 1, min(len(items), TIMED + 1)).astype(int)
    return [items[place] for place in places.tolist()]
