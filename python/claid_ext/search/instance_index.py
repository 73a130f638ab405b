"""`InstanceIndex`: a folder of photos by their regions, to find a thing again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.choices import EXPAND, REFINE
from claid_ext.index import manifest
from claid_ext.index.embedded import EmbeddedStore
from claid_ext.index.paths import ImageFilter, absolute
from claid_ext.record import check_vectors
from claid_ext.regions import Regions, RegionSource
from claid_ext.search.adding import AddReport
from claid_ext.search.finding import FindOptions, Prepared, StageTimes, find
from claid_ext.search.growing import Writer
from claid_ext.search.opening import given_source, make_folder, source_of
from claid_ext.search.preparing import prepare
from claid_ext.search.query import Hit, as_query, is_one_query
from claid_ext.search.recipes import DEFAULT_RUNNING, Networks, Running

if TYPE_CHECKING:
    import torch

    from claid_ext.describing import Descriptor
    from claid_ext.descriptors.basis import Basis
    from claid_ext.detector import Detector

__all__ = ["InstanceIndex"]


class InstanceIndex:
    """Images by their regions, in a folder; made by `create`, opened by `open`.

    Use it as a context manager, or `close` it. Several may read a folder while one writes to it; a
    second writer gets IndexLockedError. Paths of images are held as absolute paths.

    Attributes
    ----------
    path : the folder.
    manifest : every option it was made with.
    store : where the records are.
    """

    def __init__(
        self, path: Path, store: EmbeddedStore, stored: dict[str, Any], networks: Networks
    ) -> None:
        """For `create` and `open`."""
        self.path = path
        self.manifest = stored
        self.store = store
        self._networks = networks
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
    ) -> InstanceIndex:
        """Open an index.

        Parameters
        ----------
        path : the folder.
        descriptor, detector, regions : those it was made with; None to make them again, when they
            are first needed, from what the manifest says.
        scales : of the detector, those it was made with; None to take the manifest's.
        device : where to make them.

        Raises
        ------
        InvalidIndexError : the folder is no index, or one of another version.
        IndexMismatchError : a descriptor, detector or scales other than it was made with.
        """
        path = Path(path)
        made = manifest.read_manifest(path)["regions"]
        return cls._opened(
            path,
            source=given_source(path, made, detector, scales) or regions,
            descriptor=descriptor,
            running=Running(device=device),
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
        manifest.check_same(path, {name: stored[name] for name in asked}, asked, "")
        return cls._opened(path, source=regions, descriptor=descriptor, running=running)

    @classmethod
    def _opened(cls, path: Path, **networks: Any) -> InstanceIndex:
        stored = manifest.read_manifest(path)
        store = EmbeddedStore(path, factory=stored["factory"], probes=stored["probes"])
        return cls(path, store, stored, Networks(path, stored, **networks))

    def close(self) -> None:
        """Close the files; the index cannot be used afterwards."""
        self.store.close()

    def __enter__(self) -> InstanceIndex:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __repr__(self) -> str:
        """Return its folder, images and vectors."""
        with self.store.reading() as view:
            counts = view.table.counts
        return f"InstanceIndex({str(self.path)!r}, {len(counts)} images, {counts.sum()} regions)"

    def __contains__(self, image: str | os.PathLike[str]) -> bool:
        """Whether it holds an image of this path."""
        return self.store.holds(absolute(image))

    @property
    def images(self) -> list[str]:
        """The paths of its images, in the order they were added."""
        with self.store.reading() as view:
            return list(view.table.paths)

    @property
    def regions_count(self) -> int:
        """The number of regions of all its images: each has a vector."""
        with self.store.reading() as view:
            return int(view.table.counts.sum())

    @property
    def dim(self) -> int:
        """Length of its vectors as they are now."""
        return self.store.dim

    @property
    def basis(self) -> Basis | None:
        """What its maps and vectors are coded by; None where they are not coded."""
        return self._writer.frozen.basis

    @property
    def descriptor(self) -> Descriptor:
        """What describes queries; made when it is first asked for."""
        return self._networks.descriptor

    @property
    def source(self) -> RegionSource:
        """What gives regions of images; made when it is first asked for."""
        return self._networks.source

    def add(
        self,
        images: Sequence[str | os.PathLike[str]],
        *,
        workers: int = 2,
        batch_size: int = 8,
        progress: bool = False,
    ) -> AddReport:
        """Add image files; those that are there, and have not changed since, are passed over.

        Each image is added wholly or not at all, also when the process is killed; calling again
        with the same images goes on where it stopped. A changed file takes its older state's place.

        Parameters
        ----------
        images : paths of image files.
        workers : threads that read images ahead.
        batch_size : images detected, described and committed together.
        progress : whether to show a bar on stderr, where that is a terminal.

        Raises
        ------
        IndexLockedError : another process is writing.
        OSError : the disk is full, or the folder not writable. What was added before is kept.
        """
        if workers < 1 or batch_size < 1:
            raise ValueError(f"workers and batch_size must be at least 1: {workers}, {batch_size}")
        return self._writer.add(
            [absolute(image) for image in images],
            workers=workers,
            batch_size=batch_size,
            progress=progress,
        )

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

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        min_size: float = 0.0,
        images: ImageFilter | None = None,
        refine: int = REFINE,
        expand: int = EXPAND,
        times: StageTimes | None = None,
    ) -> list[list[Hit]]:
        """Find the images that show a thing, and where.

        Parameters
        ----------
        queries : a Query, an (image, box) pair, an image, what `prepare` gave; or a list of these.
        k : how many distinct images; fewer come back only where fewer are in scope.
        min_size : regions smaller than this, in square pixels of their image, are passed over.
        images : which images may be found: a pattern such as "*/2024/*", paths, or a function of
            the path; None for all.
        refine : in how many of the best images the box is searched for on their maps (stage 2); 0
            for none: then hits have the boxes of stored regions.
        expand : by how many of the best images the query is expanded, if there are maps; 0: none.
        times : where to add up what each stage took.

        Returns
        -------
        The hits of each query, best first; a list of lists also for one query.

        Raises
        ------
        UnreadableImageError : a query's image.
        ValueError : k below 1, refine or expand below 0; a box that is empty or outside its image.
        """
        many = [queries] if is_one_query(queries) else list(queries)
        if min(refine, expand) < 0:
            raise ValueError(f"refine and expand must be at least 0, got {refine} and {expand}")
        prepared = self.prepare(many, times)
        return self._find(prepared, FindOptions(k, min_size, images, refine, expand), times)

    def prepare(self, queries: Sequence[Any], times: StageTimes | None = None) -> list[Prepared]:
        """Describe a list of queries once, to `search` for them several times."""
        basis = self.basis
        with (times or StageTimes()).stage("query"):
            return [
                one if isinstance(one, Prepared) else prepare(as_query(one), self.descriptor, basis)
                for one in queries
            ]

    def describe(self, queries: Sequence[Any]) -> list[NDArray[np.float32]]:
        """Return the vectors of queries, float32 (B, D) each, as stage 1 compares them."""
        return [prepared.vectors for prepared in self.prepare(queries)]

    def search_vectors(
        self,
        queries: Sequence[tuple[NDArray[np.float32], bool]],
        k: int = 10,
        *,
        min_size: float = 0.0,
        images: ImageFilter | None = None,
    ) -> list[list[Hit]]:
        """Search by vectors alone: stage 1 without expansion.

        `queries` holds float32 (B, D) unit vectors of each, and whether all of them are asked for;
        the rest is as of `search`.
        """
        prepared = [
            Prepared(check_vectors("a query's vectors", its, None, self.dim), all_of)
            for its, all_of in queries
        ]
        return self._find(prepared, FindOptions(k, min_size, images, 0, 0))

    def _find(
        self, queries: Sequence[Prepared], options: FindOptions, times: StageTimes | None = None
    ) -> list[list[Hit]]:
        if options.k < 1:
            raise ValueError(f"k must be at least 1, got {options.k}")
        return find(self.store, queries, options, self.basis, times)
