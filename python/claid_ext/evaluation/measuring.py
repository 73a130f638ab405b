"""Measure a setup on a set: build its index, run its queries, score the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from claid_ext.evaluation.datasets import SearchSet
from claid_ext.evaluation.metrics import Denominator
from claid_ext.evaluation.ranking import ranking_of
from claid_ext.evaluation.scoring import Ranking, score
from claid_ext.evaluation.setup import Measurement, Setup
from claid_ext.index.paths import absolute

if TYPE_CHECKING:
    from claid_ext.backbones import Backbone
    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.detector import Detector
    from claid_ext.search import InstanceIndex, Query, Searcher
    from claid_ext.search.finding import Prepared

__all__ = ["Measurer"]

T = TypeVar("T")
R = TypeVar("R")

TIMED = 12  # images, and queries, that the stages are timed on
TIMED_K = 100  # images asked for when the search is timed


@dataclass
class Measurer:
    """Measures setups on sets; call it with both.

    work: the folder of the indexes, one for each set and setup. An interrupted run resumes there,
    and images that are indexed already are not processed again. index, dataset: what to search in
    their place, as of `claid_ext.open_index`; it must hold the images of the sets.
    """

    work: Path
    denominator: Denominator = "min"
    show_progress: bool = True
    index: str | None = None
    dataset: str | None = None
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)

    def __call__(self, search_set: SearchSet, setup: Setup) -> Measurement:
        """Build or complete the index of the set, run all of its queries, score the answers.

        Times are taken on a few images and queries, one at a time after a warm-up, so they do not
        depend on how much of the index an earlier run had built.
        """
        from claid_ext.search import Query

        with self._opened(search_set, setup) as (index, unreadable):
            queries = [Query(query.image, query.boxes) for query in search_set.queries]
            both: list[Ranking] = []
            first: list[Ranking] = []
            for query in self._progress(queries):
                (prepared,) = index.prepare([query])
                self._search(index, prepared, search_set, both, setup.refine, setup.expand)
                if prepared.templates:
                    self._search(index, prepared, search_set, first, 0, 0)
            sizes = index.store.record_bytes()
            return Measurement(
                scores=score(search_set, both, self.denominator),
                stage_1=score(search_set, first, self.denominator) if first else None,
                features=index.regions_count,
                images=len(index),
                bytes_per_image=float(sizes.mean()) if len(sizes) else 0.0,
                largest_bytes=int(sizes.max(initial=0)),
                milliseconds=_time_stages(index, search_set, queries, setup),
                unreadable=unreadable,
            )

    @staticmethod
    def _search(  # noqa: PLR0917 (one call, twice)
        index: Searcher,
        query: Prepared,
        search_set: SearchSet,
        rankings: list[Ranking],
        refine: int,
        expand: int,
    ) -> None:
        (hits,) = index.search(
            [query], len(index) or 1, images=search_set.images, refine=refine, expand=expand
        )
        rankings.append(ranking_of(hits, search_set.images))

    @contextmanager
    def _opened(self, search_set: SearchSet, setup: Setup) -> Iterator[tuple[Searcher, int]]:
        """Open what is searched, and say how many of the set's images it cannot have."""
        paths = [str(path) for path in search_set.images]
        if self.index is None:
            with self._index(search_set, setup) as made:
                yield made, len(made.add(paths, progress=self.show_progress).failed)
            return
        from claid_ext.search import open_index

        with open_index(self.index, dataset=self.dataset, device=setup.device) as index:
            held = set(index.images)
            missing = sum(absolute(path) not in held for path in paths)
            if missing == len(paths):
                raise ValueError(f"{self.index} holds no image of the set {search_set.name}")
            yield index, missing

    def _index(self, search_set: SearchSet, setup: Setup) -> InstanceIndex:
        from claid_ext.regions import region_source
        from claid_ext.search import InstanceIndex

        detector, descriptor = self._load(setup)
        scales = setup.scales if detector is not None else None
        return InstanceIndex.open_or_create(
            self.work / setup.folder_name(search_set.name),
            descriptor=descriptor,
            regions=region_source(
                setup.regions,
                detector,
                scales,
                with_dummies=setup.dummies and bool(detector),
                max_regions=setup.max_regions,
            ),
            pca=setup.pca,
        )

    def _load(self, setup: Setup) -> tuple[Detector | None, RegionDescriptor]:
        """Load the networks of a setup, keeping those that the setup before used too."""
        tokens = setup.descriptor == "tokens"
        detector: Detector | None = None
        if setup.regions == "detect":
            detector = self._keep("detector", _detector, setup, tokens)
        network = detector.backbone if tokens and detector is not None else None
        return detector, self._keep("descriptor", _descriptor, setup, network)

    def _keep(self, kind: str, make: Callable[..., R], setup: Setup, extra: Any) -> R:
        fields = _FIELDS[kind]
        key = [repr(getattr(setup, name)) for name in fields] + [extra]
        if kind not in self._loaded or self._loaded[kind][0] != key:
            self._loaded.pop(kind, None)  # before the next is made: two may not fit a device
            self._loaded[kind] = (key, make(setup, extra))
        made: R = self._loaded[kind][1]
        return made

    def _progress(self, queries: list[Any]) -> Iterator[Any]:
        from claid_ext.progress import progress

        return progress(
            queries, len(queries), "queries", "query", disable=None if self.show_progress else True
        )


_FIELDS = {
    "detector": ("backbone", "weights", "device", "batch_size", "detect"),
    "descriptor": (
        "descriptor",
        "descriptor_weights",
        "backbone",
        "weights",
        "pooling",
        "layer",
        "octaves",
        "device",
    ),
}


def _detector(setup: Setup, keep_features: bool) -> Detector:
    from claid_ext.detector import Detector

    return Detector(
        setup.backbone,
        weights=setup.weights,
        device=setup.device,
        batch_size=setup.batch_size,
        keep_features=keep_features,
        **setup.detect,
    )


def _descriptor(setup: Setup, network: Backbone | None) -> RegionDescriptor:
    from claid_ext.descriptors import RegionDescriptor

    if setup.descriptor == "tokens":
        if network is not None:
            return RegionDescriptor(network, pooling=setup.pooling)
        return RegionDescriptor(
            setup.backbone, weights=setup.weights, pooling=setup.pooling, device=setup.device
        )
    return RegionDescriptor(
        setup.descriptor,
        weights=setup.descriptor_weights,
        pooling=setup.pooling,
        layer=setup.layer,
        octaves=setup.octaves,
        device=setup.device,
    )


def _time_stages(
    index: Searcher, search_set: SearchSet, queries: list[Query], setup: Setup
) -> dict[str, float]:
    """Milliseconds of each stage, the median over a few images and queries spread over the set."""
    from claid_ext.describing import RegionDescriber
    from claid_ext.errors import ClaidError
    from claid_ext.images import read_photo
    from claid_ext.search.finding import StageTimes

    describer = RegionDescriber(index.source, index.descriptor, index.basis)
    seconds: dict[str, list[float]] = {}
    for path in _spread(search_set.images):
        try:
            photo = _timed(seconds, "read", read_photo, path)
            regions = _timed(seconds, "regions", index.source, [photo])
            _timed(seconds, "describe", describer.describe, [photo], regions)
        except (ClaidError, ValueError):  # counted as unreadable already
            continue
    for query in _spread(queries):
        times = StageTimes()
        index.search([query], TIMED_K, refine=setup.refine, expand=setup.expand, times=times)
        for stage, time_taken in times.seconds.items():
            seconds.setdefault(stage, []).append(time_taken)
    # The first of each is the warm-up, unless it is all there is.
    return {name: 1000 * float(np.median(all_[1:] or all_)) for name, all_ in seconds.items()}


def _spread(items: Sequence[T]) -> list[T]:
    places = np.linspace(0, len(items) - 1, min(len(items), TIMED + 1)).astype(int)
    return [items[place] for place in places.tolist()]


def _timed(seconds: dict[str, list[float]], stage: str, call: Callable[..., R], *args: Any) -> R:
    start = time.perf_counter()
    result = call(*args)
    seconds.setdefault(stage, []).append(time.perf_counter() - start)
    return result
