"""`InstanceIndex`: a folder of photos by their regions, to find a thing again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.index import manifest
from claid_ext.index.embedded import EmbeddedStore
from claid_ext.index.paths import absolute
from claid_ext.regions import Regions, RegionSource
from claid_ext.search.adding import AddReport
from claid_ext.search.growing import Writer
from claid_ext.search.opening import given_source, make_folder, source_of
from claid_ext.search.recipes import DEFAULT_RUNNING, Networks, Running
from claid_ext.search.searcher import Searcher
from claid_ext.stage_times import StageTimes, collecting

if TYPE_CHECKING:
    import torch

    from claid_ext.describing import Descriptor
    from claid_ext.detector import Detector

__all__ = ["InstanceIndex"]


class InstanceIndex(Searcher):
    """Images by their regions, in a folder; made by `create`, opened by `open`.

    It is searched as every `Searcher` is. Several processes may read a folder while one writes to
    it; a second writer gets IndexLockedError. Paths of images are held as absolute paths.

    Attributes
    ----------
    path : the folder.
    manifest : every option it was made with.
    store : where the records are.
    """

    path: Path
    store: EmbeddedStore

    def __init__(
        self, path: Path, store: EmbeddedStore, stored: dict[str, Any], networks: Networks
    ) -> None:
        """For `create` and `open`."""
        super().__init__(path, store, stored, networks)
        self._writer = Writer(path, store, networks, stored["pca"])

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        descriptor: Descriptor,
        detector: Detector | None = None,
        regions: str | RegionSource = "detect",
        scales: Sequence[float] | None = None,
        factory: str = "Flat",
        pca: int | None = None,
        probes: int = 32,
    ) -> InstanceIndex:
        """Make an empty index in a new or empty folder.

        Parameters
        ----------
        path : the folder.
        descriptor : gives the vectors.
        regions, detector, scales : give the regions, as `claid_ext.regions.region_source`; or a
            RegionSource alone.
        factory : faiss's description of the index. Other than "Flat", it is used from the moment
            there are enough vectors to train it; until then all are compared.
        pca : length of the whitened vectors, None for 208; only for a descriptor whose pooling is
            "whitened".
        probes : cells that an inverted file ("IVF...") looks into for a query.

        Raises
        ------
        FileExistsError : the folder holds something.
        ValueError : a wrong option.
        """
        source = source_of(regions, detector, scales)
        make_folder(Path(path), source, descriptor, factory=factory, pca=pca, probes=probes)
        return cls._opened(Path(path), source=source, descriptor=descriptor)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        descriptor: Descriptor | None = None,
        detector: Detector | None = None,
        regions: RegionSource | None = None,
        scales: Sequence[float] | None = None,
        device: str | torch.device | None = None,
        runtime: str | None = None,
        precision: str | None = None,
        allow_runtime: bool = False,
    ) -> InstanceIndex:
        """Open an index.

        Parameters
        ----------
        path : the folder.
        descriptor, detector, regions : those it was made with; None to make them again, when they
            are first needed, from what the manifest says.
        scales : of the detector, those it was made with; None to take the manifest's.
        device : where to make them.
        runtime, precision : by what to run them, as `claid_ext.Detector`; None for those that the
            index was made with.
        allow_runtime : whether they may be others: then what is described now is a little unlike
            what is stored.

        Raises
        ------
        InvalidIndexError : the folder is no index, or one of another version.
        IndexMismatchError : a descriptor, detector or scales other than it was made with; when the
            networks are first needed, another runtime or precision.
        """
        path = Path(path)
        made = manifest.read_manifest(path)["regions"]
        return cls._opened(
            path,
            source=given_source(path, made, detector, scales) or regions,
            descriptor=descriptor,
            running=Running(
                device=device,
                runtime=runtime,
                precision=precision,
                allow_runtime=allow_runtime,
            ),
        )

    @classmethod
    def open_or_create(
        cls,
        path: str | os.PathLike[str],
        *,
        descriptor: Descriptor | None = None,
        regions: RegionSource | None = None,
        factory: str | None = None,
        pca: int | None = None,
        probes: int | None = None,
        running: Running = DEFAULT_RUNNING,
    ) -> InstanceIndex:
        """Open an index with the options it has, or make one where there is none.

        Parameters
        ----------
        path : the folder.
        descriptor, regions, factory, pca, probes : as `create`. None is the index's own; of a new
            one, the default of `create`.
        running : where and how what the manifest says is to run.

        Raises
        ------
        InvalidIndexError : the folder is an index of another version, or damaged.
        IndexMismatchError : the index has other options; names each of them.
        ValueError : no descriptor or regions where there is no index yet, or a wrong option.
        """
        path = Path(path)
        parts = {"regions": regions, "descriptor": descriptor}
        given = {"factory": factory, "pca": pca, "probes": probes}
        asked: dict[str, Any] = {name: v for name, v in given.items() if v is not None}
        if not manifest.has_manifest(path):
            if descriptor is None or regions is None:
                raise ValueError(f"{path} is no index yet: a new one needs regions and descriptor")
            return cls.create(path, descriptor=descriptor, regions=regions, **asked)
        asked |= {name: part.manifest() for name, part in parts.items() if part is not None}
        stored = manifest.read_manifest(path)
        manifest.check_same(
            path,
            {name: stored[name] for name in asked},
            asked,
            "",
            allow_runtime=running.allow_runtime,
        )
        return cls._opened(path, source=regions, descriptor=descriptor, running=running)

    @classmethod
    def _opened(cls, path: Path, **networks: Any) -> InstanceIndex:
        stored = manifest.read_manifest(path)
        store = EmbeddedStore(path, factory=stored["factory"], probes=stored["probes"])
        return cls(path, store, stored, Networks(path, stored, **networks))

    def add(
        self,
        images: Iterable[str | os.PathLike[str] | tuple[str, Any]],
        *,
        workers: int = 2,
        batch_size: int = 8,
        progress: bool = False,
        times: StageTimes | None = None,
    ) -> AddReport:
        """Add images; those that are there, and have not changed since, are passed over.

        Each image is added wholly or not at all, also when the process is killed; calling again
        with the same images goes on where it stopped. A changed file takes its older state's place.

        Parameters
        ----------
        images : paths of image files; or (name, image) pairs, such as `claid_ext.named_images`
            gives, of which only few are in memory at once. A name that is not like scheme://...
            gets data:// in front. Such an image cannot be read again: it is found as all are, but
            an index with any is not refitted.
        workers : threads that read images ahead.
        batch_size : images detected, described and committed together.
        progress : whether to show a bar on stderr, where that is a terminal.
        times : where to add up what each stage took, in all threads together.

        Raises
        ------
        IndexLockedError : another process is writing.
        OSError : the disk is full, or the folder not writable. What was added before is kept.
        """
        if workers < 1 or batch_size < 1:
            raise ValueError(f"workers and batch_size must be at least 1: {workers}, {batch_size}")
        options: dict[str, Any] = {
            "workers": workers,
            "batch_size": batch_size,
            "progress": progress,
        }
        coming: Iterator[Any] = iter(images)
        first = list(islice(coming, 1))
        with collecting(times):
            if first and isinstance(first[0], tuple):
                return self._writer.add_named(chain(first, coming), **options)
            return self._writer.add([absolute(image) for image in chain(first, coming)], **options)

    def refit(self, *, progress: bool = False) -> int:
        """Fit the basis to the photos as they are now, and code all of them by it.

        For an index that has grown far beyond the photos that its basis was fitted on. All photos
        are read again, and nothing changes until that is done; `progress` is as of `add`. Returns
        how many photos the basis was fitted on.

        Raises
        ------
        ValueError : an index without maps, or of fewer than 50 photos.
        UnreadableImageError : a photo that cannot be read any more; remove it first.
        IndexLockedError : another process is writing.
        """
        return self._writer.refit(progress=progress)

    def add_described(
        self, images: Iterable[tuple[str | os.PathLike[str], Regions, NDArray[np.floating[Any]]]]
    ) -> int:
        """Add images whose vectors are known already, in place of older ones of their paths.

        They are taken one by one and committed some thousand regions at a time, each wholly or not
        at all; what was committed before an error is kept. They have no maps, and so no stage 2.

        Parameters
        ----------
        images : of each its path (what to call it; no file needs to be there), its R regions, and
            float (R, D) unit vectors.

        Returns
        -------
        How many were added.

        Raises
        ------
        IndexLockedError, OSError : as `add`.
        TypeError, ValueError : vectors that are not finite floats (R, D) of length 1 or 0.
        """
        return self._writer.add_described(images)

    def remove(self, image: str | os.PathLike[str]) -> None:
        """Remove an image.

        Raises KeyError if it is not in the index, IndexLockedError if another process is writing.
        """
        if not self.store.delete_images([absolute(image)]):
            raise KeyError(f"{image} is not in the index {self.path}")

    def compact(self) -> None:
        """Give back what removed images took, and take all vectors into the faiss index.

        Raises IndexLockedError if another process is writing.
        """
        self.store.settle(whole=True)
