"""`InstanceIndex`: a folder of regions and their vectors, to find a thing again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.images import as_image
from claid_ext.index import adding, manifest
from claid_ext.index.lock import writer_lock
from claid_ext.index.networks import Networks, index_source
from claid_ext.index.paths import ImageFilter, absolute, file_state, matching
from claid_ext.index.query import AddReport, Hit, Query, as_query, is_one_query, query_boxes
from claid_ext.index.search import Scope, as_hits, rank_images
from claid_ext.index.snapshot import Snapshot
from claid_ext.index.store import Store
from claid_ext.index.vectors import check_vectors, renew_base
from claid_ext.index.whitening import WHITENING_ROWS, Whitening
from claid_ext.regions import Regions, RegionSource

if TYPE_CHECKING:
    import torch

    from claid_ext.descriptors import RegionDescriptor
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
    """

    def __init__(
        self, path: Path, store: Store, stored: dict[str, Any], networks: Networks
    ) -> None:
        """For `create` and `open`."""
        self.path = path
        self.manifest = stored
        self._store = store
        self._networks = networks
        self._snapshot: Snapshot | None = None
        self._version = -1
        self._fitted: Whitening | None = None

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        descriptor: RegionDescriptor,
        detector: Detector | None = None,
        regions: str = "detect",
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
        detector, regions : give the regions, as `region_source`.
        scales : at which the detector looks; None for those that suit its backbone.
        factory : faiss's description of the index. Other than "Flat", it is used from the moment
            there are enough vectors to train it; until then all are compared.
        pca : dimensions to keep of a PCA-whitening, fitted on the index when it holds 65,536
            vectors, or at the end of an `add` after which it holds 4 a dimension; None for none.
        probes : cells that an inverted file ("IVF...") looks into for a query.

        Raises
        ------
        FileExistsError : the folder holds something.
        ValueError : a wrong option.
        """
        path = Path(path)
        source = index_source(regions, detector, scales)
        options = manifest.options(source, descriptor, factory, pca, probes)
        path.mkdir(parents=True, exist_ok=True)
        with writer_lock(path):
            manifest.clear_leftovers(path)
            store = Store(path, create=True)
            manifest.write_manifest(path, options)
        stored = manifest.read_manifest(path)
        networks = Networks(path, stored, source=source, descriptor=descriptor)
        return cls(path, store, stored, networks)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        descriptor: RegionDescriptor | None = None,
        detector: Detector | None = None,
        scales: Sequence[float] | None = None,
        device: str | torch.device | None = None,
    ) -> InstanceIndex:
        """Open an index.

        Parameters
        ----------
        path : the folder.
        descriptor, detector : those it was made with; None to make them again, when they are first
            needed, from what the manifest says.
        scales : those it was made with, None to take the manifest's.
        device : where to make them.

        Raises
        ------
        InvalidIndexError : the folder is no index, or one of another version.
        IndexMismatchError : a descriptor, detector or scales other than it was made with.
        """
        path = Path(path)
        stored = manifest.read_manifest(path)
        networks = Networks.given(
            path, stored, detector=detector, scales=scales, descriptor=descriptor, device=device
        )
        return cls(path, Store(path), stored, networks)

    def close(self) -> None:
        """Close the files. The index cannot be used afterwards."""
        self._snapshot = None
        self._store.close()

    def __enter__(self) -> InstanceIndex:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def __len__(self) -> int:
        """Return the number of images."""
        with self._reading() as snapshot:
            return len(snapshot.table.ids)

    def __repr__(self) -> str:
        """Return its folder, images and vectors."""
        with self._reading() as snapshot:
            counts = snapshot.table.counts
        return f"InstanceIndex({str(self.path)!r}, {len(counts)} images, {counts.sum()} regions)"

    def __contains__(self, image: str | os.PathLike[str]) -> bool:
        """Whether it holds an image of this path."""
        return self._store.holds(absolute(image))

    @property
    def images(self) -> list[str]:
        """The paths of its images, in the order they were added."""
        with self._reading() as snapshot:
            table = snapshot.table
        return [table.paths[i] for i in np.argsort(table.ids)]

    @property
    def dim(self) -> int:
        """Length of its vectors as they are now; the whitening, once fitted, shortens them."""
        dim: int = self.manifest["pca"] if self.whitening else self.manifest["descriptor"]["dim"]
        return dim

    @property
    def whitening(self) -> Whitening | None:
        """What was fitted for `pca` when there were enough vectors; it never changes."""
        if self._fitted is None and self.manifest["pca"] is not None:
            content = self._store.get("whitening")
            self._fitted = Whitening.from_bytes(content) if content else None
        return self._fitted

    @property
    def descriptor(self) -> RegionDescriptor:
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
        with writer_lock(self.path):
            paths = [absolute(image) for image in images]
            known = self._store.file_states()
            report = adding.add_images(
                self, paths, known, workers=workers, batch_size=batch_size, progress=progress
            )
            self._settle(grown=True)
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
        with writer_lock(self.path):
            added = 0
            for batch in adding.in_batches(images, self.manifest["descriptor"]["dim"]):
                self.put(batch)
                added += len(batch)
            self._settle(grown=True)
        return added

    def put(self, images: Sequence[tuple[str, Regions, NDArray[np.float32]]]) -> None:
        """Add checked images in one transaction; the caller holds the writer's lock.

        The whitening is fitted as soon as there are as many vectors as it is ever fitted on, so
        that a long `add` need not keep all of them at their full length.
        """
        whitening = self.whitening
        with self._store.transaction():
            for path, regions, vectors in images:
                stored = whitening(vectors) if whitening else vectors
                self._store.add(path, regions, stored, file_state(path))
        if self._store.get("rows") >= WHITENING_ROWS:
            self._fit_whitening()
        self._snapshot = None

    def remove(self, image: str | os.PathLike[str]) -> None:
        """Remove an image.

        Raises
        ------
        KeyError : it is not in the index.
        IndexLockedError : another process is writing.
        """
        with writer_lock(self.path), self._store.transaction():
            if not self._store.remove(absolute(image)):
                raise KeyError(f"{image} is not in the index {self.path}")
        self._snapshot = None

    def compact(self) -> None:
        """Give back what removed images took, and take all vectors into the faiss index.

        Raises
        ------
        IndexLockedError : another process is writing.
        """
        with writer_lock(self.path):
            self._settle(grown=False)
            self._store.vacuum()

    def _settle(self, grown: bool) -> None:
        """Fit the whitening if it is time, then take rows into the faiss index likewise."""
        self._fit_whitening()
        renew_base(
            self.path, self._store, self.dim, self.manifest["factory"], whole=not grown, grown=grown
        )
        self._snapshot = None

    def _fit_whitening(self) -> None:
        pca = self.manifest["pca"]
        if pca is not None and self.whitening is None:
            adding.fit_whitening(self._store, self.manifest["descriptor"]["dim"], pca)

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
        pictures = [as_image(query.image) for query in queries]
        regions = []
        for query, picture in zip(queries, pictures, strict=True):
            size = (picture.height, picture.width)
            regions.append(Regions.of_boxes(size, query_boxes(query, size)))
        return self.descriptor(pictures, regions) if pictures else []

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
        asked = [
            (
                check_vectors("a query's vectors", its, None, self.manifest["descriptor"]["dim"]),
                all_of,
            )
            for its, all_of in queries
        ]
        with self._reading() as snapshot:
            whitening = self.whitening
            if whitening:
                asked = [(whitening(its), all_of) for its, all_of in asked]
            sizes = self._store.sizes(snapshot.table) if min_size > 0 else None
            scope = Scope(matching(snapshot.table.paths, images), min_size, sizes)
            rankings = rank_images(asked, k, self._store, snapshot, scope)
            return as_hits(rankings, [all_of for _, all_of in asked], self._store, snapshot.table)

    @contextmanager
    def _reading(self) -> Iterator[Snapshot]:
        """Hold the state of the index still; read it again if somebody has changed it."""
        with self._store.reading():
            version = self._store.version()
            if self._snapshot is None or version != self._version:
                probes = self.manifest["probes"]
                self._snapshot = Snapshot(self.path, self._store, self.dim, probes)
                self._version = version
            yield self._snapshot
