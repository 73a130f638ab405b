"""`InstanceIndex`: a folder of photos by their regions, to find a thing again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.images import read_photo
from claid_ext.index import manifest
from claid_ext.index.embedded import EmbeddedStore
from claid_ext.index.lock import writer_lock
from claid_ext.index.paths import ImageFilter, absolute, file_state
from claid_ext.index.ranking import VectorQuery
from claid_ext.index.store import Entry
from claid_ext.index.whitening import WHITENING_ROWS, Whitening, fit_whitening
from claid_ext.record import ImageRecord, check_vectors
from claid_ext.regions import Regions, RegionSource, region_source
from claid_ext.search.adding import AddReport, describe_files
from claid_ext.search.finding import find
from claid_ext.search.options import new_options, source_of
from claid_ext.search.query import Hit, Query, as_query, is_one_query, query_boxes
from claid_ext.search.recipes import DEFAULT_RUNNING, Networks, Running

if TYPE_CHECKING:
    import torch

    from claid_ext.describing import Descriptor
    from claid_ext.detector import Detector

__all__ = ["InstanceIndex"]

ROWS_A_COMMIT = 4096  # of vectors that are known already; 32 MiB of 2048 dimensions


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
        self._fitted: Whitening | None = None

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
        pca : dimensions to keep of a PCA-whitening, fitted on the index when it holds 65,536
            vectors, or at the end of an `add` after which it holds 4 per dimension; None for none.
        probes : cells that an inverted file ("IVF...") looks into for a query.

        Raises
        ------
        FileExistsError : the folder holds something.
        ValueError : a wrong option.
        """
        path = Path(path)
        source = source_of(regions, detector, scales)
        options = new_options(source, descriptor, factory, pca, probes)
        path.mkdir(parents=True, exist_ok=True)
        with writer_lock(path):
            manifest.clear_leftovers(path)
            dim = options["descriptor"]["dim"]
            EmbeddedStore(path, dim=dim).close()
            manifest.write_manifest(path, options)
        return cls._opened(path, source=source, descriptor=descriptor)

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
        stored = manifest.read_manifest(path)
        made = stored["regions"]
        its_scales = sorted(map(float, made.get("scales", ())))
        if scales is not None and sorted(map(float, scales)) != its_scales:
            manifest.check_same(path, its_scales, sorted(scales), "scales")
        if detector is not None:
            regions = region_source(
                "detect", detector, its_scales or None, with_dummies=made.get("with_dummies", False)
            )
        return cls._opened(
            path, source=regions, descriptor=descriptor, running=Running(device=device)
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
        given = {"factory": factory, "pca": pca, "probes": probes}
        asked: dict[str, Any] = {name: v for name, v in given.items() if v is not None}
        if not manifest.has_manifest(path):
            if descriptor is None or regions is None:
                raise ValueError(f"{path} is no index yet: a new one needs regions and descriptor")
            return cls.create(path, descriptor=descriptor, regions=regions, **asked)
        stored = manifest.read_manifest(path)
        parts = {"regions": regions, "descriptor": descriptor}
        asked |= {name: part.manifest() for name, part in parts.items() if part is not None}
        manifest.check_same(path, {name: stored[name] for name in asked}, asked, "")
        return cls._opened(path, source=regions, descriptor=descriptor, running=running)

    @classmethod
    def _opened(cls, path: Path, **networks: Any) -> InstanceIndex:
        stored = manifest.read_manifest(path)
        ready = Networks(path, stored, **networks)
        store = EmbeddedStore(path, factory=stored["factory"], probes=stored["probes"])
        return cls(path, store, stored, ready)

    def close(self) -> None:
        """Close the files. The index cannot be used afterwards."""
        self.store.close()

    def __enter__(self) -> InstanceIndex:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def __len__(self) -> int:
        """Return the number of images."""
        with self.store.reading() as view:
            return len(view.table.ids)

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
    def dim(self) -> int:
        """Length of its vectors as they are now; the whitening, once fitted, shortens them."""
        return self.store.dim

    @property
    def whitening(self) -> Whitening | None:
        """What was fitted for `pca` when there were enough vectors; it never changes."""
        if self._fitted is None and self.manifest["pca"] is not None:
            content = self.store.get("whitening")
            self._fitted = Whitening.from_bytes(content) if content else None
        return self._fitted

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
        report = AddReport()
        with self.store.writing():
            batches = describe_files(
                self._networks.describer,
                [absolute(image) for image in images],
                self.store.file_states(),
                report,
                workers=workers,
                batch_size=batch_size,
                progress=progress,
            )
            for entries in batches:
                self._put(entries)
            self._settle()
        return report

    def add_described(
        self, images: Iterable[tuple[str | os.PathLike[str], Regions, NDArray[np.floating[Any]]]]
    ) -> int:
        """Add images whose vectors are known already, in place of older ones of their paths.

        They are taken one by one, and committed some thousand regions at a time: each wholly or not
        at all, also when the process is killed. What was committed before an error is kept.

        Parameters
        ----------
        images : of each its path (what to call it; no file needs to be there), its R regions, and
            float (R, D) unit vectors, as the descriptor gives them.

        Returns
        -------
        How many were added.

        Raises
        ------
        IndexLockedError : another process is writing.
        TypeError : vectors that are no floats.
        ValueError : vectors of another shape, not finite, or of a length other than 1 or 0.
        OSError : the disk is full, or the folder not writable.
        """
        dim = self.manifest["descriptor"]["dim"]
        added, batch = 0, list[Entry]()
        with self.store.writing():
            for image, regions, vectors in images:
                path = absolute(image)
                rows = check_vectors(f"the vectors of {path}", vectors, len(regions), dim)
                record = ImageRecord(regions.without_pixels(), rows)
                batch.append(Entry(path, record, file_state(path)))
                added += 1
                if sum(len(entry.record) for entry in batch) >= ROWS_A_COMMIT:
                    self._put(batch)
                    batch = []
            self._put(batch)
            self._settle()
        return added

    def _put(self, entries: list[Entry]) -> None:
        """Store entries; the caller holds the writer's lock.

        The whitening is fitted as soon as there are as many vectors as it is ever fitted on, so
        that a long `add` need not keep all of them at their full length.
        """
        whitening = self.whitening
        if whitening:
            entries = [entry._replace(record=whitening.applied(entry.record)) for entry in entries]
        if entries:
            self.store.upsert(entries)
        if self.store.get("rows") >= WHITENING_ROWS:
            self._fit_whitening()

    def remove(self, image: str | os.PathLike[str]) -> None:
        """Remove an image.

        Raises
        ------
        KeyError : it is not in the index.
        IndexLockedError : another process is writing.
        """
        if not self.store.delete_images([absolute(image)]):
            raise KeyError(f"{image} is not in the index {self.path}")

    def compact(self) -> None:
        """Give back what removed images took, and take all vectors into the faiss index.

        Raises
        ------
        IndexLockedError : another process is writing.
        """
        with self.store.writing():
            self._fit_whitening()
            self.store.settle(whole=True)

    def _settle(self) -> None:
        """Fit the whitening if it is time, then take vectors into the faiss index likewise."""
        self._fit_whitening()
        self.store.settle()

    def _fit_whitening(self) -> None:
        if self.manifest["pca"] is not None and self.whitening is None:
            fit_whitening(self.store, self.manifest["pca"])

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        min_size: float = 0.0,
        images: ImageFilter | None = None,
    ) -> list[list[Hit]]:
        """Find the images that show a thing, ranked by their best region.

        Parameters
        ----------
        queries : a Query, an (image, box) pair or an image alone; or a list of these.
        k : how many distinct images; fewer come back only where fewer are in scope.
        min_size : regions smaller than this, in square pixels of their image, are passed over.
        images : which images may be found: a pattern such as "*/2024/*", paths, or a function of
            the path; None for all.

        Returns
        -------
        The hits of each query, best first; a list of lists also for one query. Empty for an empty
        index.

        Raises
        ------
        UnreadableImageError : a query's image.
        ValueError : k below 1; a box that is empty or outside its image.
        """
        many = [queries] if is_one_query(queries) else list(queries)
        asked = [as_query(query) for query in many]
        vectors = self.describe(asked)
        both = [(its, query.all_of) for its, query in zip(vectors, asked, strict=True)]
        return self.search_vectors(both, k, min_size=min_size, images=images)

    def describe(self, queries: Sequence[Query]) -> list[NDArray[np.float32]]:
        """Return the vectors of queries, float32 (B, D) each, before any whitening."""
        photos = [read_photo(query.image) for query in queries]
        regions = [
            Regions.of_boxes(photo.size, query_boxes(query, photo.size))
            for query, photo in zip(queries, photos, strict=True)
        ]
        return self.descriptor(photos, regions) if photos else []

    def search_vectors(
        self,
        queries: Sequence[tuple[NDArray[np.float32], bool]],
        k: int = 10,
        *,
        min_size: float = 0.0,
        images: ImageFilter | None = None,
    ) -> list[list[Hit]]:
        """Search with vectors that `describe` or a descriptor gave.

        Parameters
        ----------
        queries : of each, float32 (B, D) unit vectors, and whether all of them are asked for.
        k, min_size, images : as `search`.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        dim = self.manifest["descriptor"]["dim"]
        whitening = self.whitening
        asked = []
        for vectors, all_of in queries:
            its = check_vectors("a query's vectors", vectors, None, dim)
            asked.append(VectorQuery(whitening(its) if whitening else its, all_of))
        return find(self.store, asked, k, min_size=min_size, images=images)
