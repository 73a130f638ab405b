"""Measure a setup on a set: build its index, run its queries, score the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from claid_ext.evaluation.datasets import SearchSet
from claid_ext.evaluation.metrics import Denominator
from claid_ext.evaluation.scoring import score
from claid_ext.evaluation.setup import Measurement, Setup

if TYPE_CHECKING:
    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.detector import Detection, Detector
    from claid_ext.index import InstanceIndex, Query

__all__ = ["KeepDummies", "Measurer"]

T = TypeVar("T")
R = TypeVar("R")

TIMED = 12  # images, and queries, that the stages are timed on
TIMED_K = 100  # images asked for when the search is timed


class KeepDummies:
    """A detector whose dummies count as regions, for the paper's Table VI."""

    def __init__(self, detector: Detector) -> None:
        """Wrap a detector; the options say so, and so the manifest of an index made with it."""
        self._detector = detector
        self.detect_options = {**detector.detect_options, "dummies": "kept"}

    def at(self, scale: float) -> KeepDummies:
        """Return the same at another scale."""
        return KeepDummies(self._detector.at(scale))

    def __call__(self, images: Any, progress: bool = False) -> list[Detection]:
        """Detect, then call no region a dummy."""
        return [
            replace(found, tree=replace(found.tree, dummy=np.zeros(len(found.tree), dtype=bool)))
            for found in self._detector(images, progress)
        ]

    def __getattr__(self, name: str) -> Any:
        """Hand out the detector's own attributes."""
        return getattr(self._detector, name)


@dataclass
class Measurer:
    """Measures setups on sets; call it with both.

    work: the folder of the indexes, one for each set and setup. An interrupted run resumes there,
    and images that are indexed already are not processed again.
    """

    work: Path
    denominator: Denominator = "min"
    show_progress: bool = True
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)

    def __call__(self, search_set: SearchSet, setup: Setup) -> Measurement:
        """Build or complete the index of the set, run all of its queries, score the answers.

        Times are taken on a few images and queries, one at a time after a warm-up, so they do not
        depend on how much of the index an earlier run had built.
        """
        from claid_ext.evaluation.ranking import count_vectors, rank_everything
        from claid_ext.index import Query

        detector, descriptor = self._load(setup)
        with self._index(search_set, setup, detector, descriptor) as index:
            report = index.add([str(p) for p in search_set.images], progress=self.show_progress)
            queries = [Query(query.image, query.boxes) for query in search_set.queries]
            vectors = [index.describe([query])[0] for query in self._progress(queries)]
            rankings = rank_everything(index.path, vectors, search_set.images)
            return Measurement(
                scores=score(search_set, rankings, self.denominator),
                features=count_vectors(index.path),
                images=len(index),
                milliseconds=_time_stages(index, search_set, queries),
                unreadable=len(report.failed),
            )

    def _index(
        self, search_set: SearchSet, setup: Setup, detector: Any, descriptor: RegionDescriptor
    ) -> InstanceIndex:
        from claid_ext.index import InstanceIndex

        folder = self.work / setup.folder_name(search_set.name)
        if (folder / "manifest.json").is_file():
            return InstanceIndex.open(folder, detector=detector, descriptor=descriptor)
        return InstanceIndex.create(
            folder,
            detector=detector,
            descriptor=descriptor,
            regions=setup.regions,
            scales=setup.scales if setup.regions == "detect" else None,
            pca=setup.pca,
        )

    def _load(self, setup: Setup) -> tuple[Any, RegionDescriptor]:
        """Load the networks of a setup, keeping those that the setup before used too."""
        tokens = setup.descriptor == "tokens"
        detector: Any = None
        if setup.regions == "detect":
            detector = self._keep("detector", _detector, setup, tokens)
        network = detector.backbone if tokens and detector is not None else None
        return detector, self._keep("descriptor", _descriptor, setup, network)

    def _keep(self, kind: str, make: Callable[..., Any], setup: Setup, extra: Any) -> Any:
        fields = _FIELDS[kind]
        key = [repr(getattr(setup, name)) for name in fields] + [extra]
        if kind not in self._loaded or self._loaded[kind][0] != key:
            self._loaded.pop(kind, None)  # before the next is made: two may not fit a device
            self._loaded[kind] = (key, make(setup, extra))
        return self._loaded[kind][1]

    def _progress(self, queries: list[Any]) -> Iterator[Any]:
        from claid_ext.progress import progress

        return progress(
            queries, len(queries), "queries", "query", disable=None if self.show_progress else True
        )


_FIELDS = {
    "detector": ("backbone", "weights", "device", "batch_size", "detect", "dummies"),
    "descriptor": (
        "descriptor",
        "descriptor_weights",
        "backbone",
        "weights",
        "pooling",
        "layer",
        "levels",
        "device",
    ),
}


def _detector(setup: Setup, keep_features: bool) -> Any:
    from claid_ext.detector import Detector

    detector = Detector(
        setup.backbone,
        weights=setup.weights,
        device=setup.device,
        batch_size=setup.batch_size,
        keep_features=keep_features,
        **setup.detect,
    )
    return KeepDummies(detector) if setup.dummies else detector


def _descriptor(setup: Setup, network: Any) -> RegionDescriptor:
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
        levels=setup.levels,
        device=setup.device,
    )


def _time_stages(
    index: InstanceIndex, search_set: SearchSet, queries: list[Query]
) -> dict[str, float]:
    """Milliseconds of each stage, the median over a few images and queries spread over the set."""
    from claid_ext.errors import ClaidError
    from claid_ext.images import load_image

    seconds: dict[str, list[float]] = {}
    for path in _spread(search_set.images):
        try:
            image = _timed(seconds, "read", load_image, path)
            (regions,) = _timed(seconds, "regions", index.source, [image])
            _timed(seconds, "describe", index.descriptor, [image], [regions])
        except (ClaidError, ValueError):  # counted as unreadable already
            continue
    for query in _spread(queries):
        (vectors,) = _timed(seconds, "query", index.describe, [query])
        _timed(seconds, "search", index.search_vectors, [(vectors, False)], TIMED_K)
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
