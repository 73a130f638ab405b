"""`InstanceIndex`: a folder of regions and their vectors, to find a thing again."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.errors import IndexMismatchError
from claid_ext.images import as_image
from claid_ext.index import adding, manifest
from claid_ext.index.lock import writer_lock
from claid_ext.index.query import AddReport, Hit, Query, as_query, is_one_query, query_boxes
from claid_ext.index.search import Best, Scope, State, rank_images, row_owners
from claid_ext.index.store import FILE as STORE_FILE
from claid_ext.index.store import Store, Stored
from claid_ext.index.vectors import Vectors, check_factory, renew_base
from claid_ext.index.whitening import Whitening
from claid_ext.regions import Regions, RegionSource, region_source

if TYPE_CHECKING:
    import torch

    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.detector import Detector

__all__ = ["InstanceIndex"]

ImageFilter = Callable[[str], bool] | str | Iterable[str | os.PathLike[str]]


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
        self,
        path: Path,
        store: Store,
        source: RegionSource | None,
        descriptor: RegionDescriptor | None,
        device: str | torch.device | None,
    ) -> None:
        """For `create` and `open`."""
        self.path = path
        self.manifest = manifest.read_manifest(path)
        self._store = store
        self._source = source
        self._descriptor = descriptor
        self._device = device
        self._state: State | None = None
        self._whitening: Whitening | None = None
        self._version = -1

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        descriptor: RegionDescriptor,
        detector: Detector | None = None,
        regions: str = "detect",
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
        factory : faiss's description of the index. Other than "Flat", it is used from the moment
            there are enough vectors to train it; until then all are compared.
        pca : dimensions to keep of a PCA-whitening, fitted on the index at the end of the first
            `add` after which it holds 4 vectors a dimension; None for none.
        probes : cells that an inverted file ("IVF...") looks into for a query.

        Raises
        ------
        FileExistsError : the folder holds something.
        ValueError : a wrong option.
        """
        path = Path(path)
        source = region_source(regions, detector)
        described = descriptor.manifest()
        dim = described["dim"]
        if pca is not None and not 1 <= pca <= dim:
            raise ValueError(f"pca must be from 1 to the descriptor's {dim}, got {pca}")
        if probes < 1:
            raise ValueError(f"probes must be at least 1, got {probes}")
        check_factory(factory, pca or dim)
        path.mkdir(parents=True, exist_ok=True)
        with writer_lock(path):
            # What was left by a process killed in here is no index yet, and may go.
            ours = {"writer.lock", f"{manifest.FILE}.part"}
            ours |= {STORE_FILE + end for end in ("", "-wal", "-shm", "-journal")}
            if other := sorted(entry.name for entry in path.iterdir() if entry.name not in ours):
                raise FileExistsError(f"{path} is not empty: it holds {other[0]}")
            for name in ours - {"writer.lock"}:
                (path / name).unlink(missing_ok=True)
            store = Store(path, create=True)
            options = {
                **source.manifest(),
                "descriptor": described,
                "recipes": {"descriptor": descriptor.recipe(), "detector": source.recipe()},
                "factory": factory,
                "pca": pca,
                "probes": probes,
            }
            manifest.write_manifest(path, options)
        return cls(path, store, source, descriptor, None)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        descriptor: RegionDescriptor | None = None,
        detector: Detector | None = None,
        device: str | torch.device | None = None,
    ) -> InstanceIndex:
        """Open an index.

        Parameters
        ----------
        path : the folder.
        descriptor, detector : those it was made with; None to make them again, when they are first
            needed, from what the manifest says.
        device : where to make them.

        Raises
        ------
        InvalidIndexError : the folder is no index, or one of another version.
        IndexMismatchError : a descriptor or detector other than it was made with.
        """
        path = Path(path)
        stored = manifest.read_manifest(path)
        if descriptor is not None:
            manifest.check_same(path, stored["descriptor"], descriptor.manifest(), "descriptor")
        source = None
        if detector is not None:
            source = region_source("detect", detector)
            regions = {"regions": stored["regions"], "detector": stored.get("detector")}
            manifest.check_same(path, regions, source.manifest(), "regions")
        return cls(path, Store(path), source, descriptor, device)

    def close(self) -> None:
        """Close the files. The index cannot be used afterwards."""
        self._state = None
        self._store.close()

    def __enter__(self) -> InstanceIndex:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._current().table.ids)

    def __repr__(self) -> str:
        """Return its folder, images and vectors."""
        table = self._current().table
        size = f"{len(table.ids)} images, {table.counts.sum()} regions"
        return f"InstanceIndex({str(self.path)!r}, {size})"

    def __contains__(self, image: str | os.PathLike[str]) -> bool:
        """Whether it holds an image of this path."""
        return _absolute(image) in set(self._current().table.paths)

    @property
    def images(self) -> list[str]:
        """The paths of its images, in the order they were added."""
        table = self._current().table
        return [table.paths[i] for i in np.argsort(table.ids)]

    @property
    def dim(self) -> int:
        """Length of its vectors as they are now; the whitening, once fitted, shortens them."""
        self._current()
        whitened: int = (
            self.manifest["pca"] if self._whitening else self.manifest["descriptor"]["dim"]
        )
        return whitened

    @property
    def descriptor(self) -> RegionDescriptor:
        """What describes queries; made when it is first asked for."""
        if self._descriptor is None:
            from claid_ext.descriptors import RegionDescriptor

            recipe = self._recipe("descriptor")
            descriptor = RegionDescriptor(**recipe, device=self._device)
            manifest.check_same(
                self.path, self.manifest["descriptor"], descriptor.manifest(), "descriptor"
            )
            self._descriptor = descriptor
        return self._descriptor

    @property
    def source(self) -> RegionSource:
        """What gives regions of images; made when it is first asked for."""
        if self._source is None:
            detector = None
            if self.manifest["regions"] == "detect":
                from claid_ext.detector import Detector

                detector = Detector(**self._recipe("detector"), device=self._device)
            source = region_source(self.manifest["regions"], detector)
            if detector is not None:
                stored = {key: self.manifest[key] for key in ("regions", "detector")}
                manifest.check_same(self.path, stored, source.manifest(), "regions")
            self._source = source
        return self._source

    def _recipe(self, of: str) -> dict[str, Any]:
        recipe: dict[str, Any] | None = self.manifest["recipes"][of]
        if recipe is None:
            raise IndexMismatchError(
                f"{self.path} was made with a {of} of your own: give it to InstanceIndex.open"
            )
        return recipe

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
            report = adding.add_images(
                self, [_absolute(i) for i in images], workers, batch_size, progress
            )
            self._settle(grown=True)
        return report

    def add_described(
        self, path: str | os.PathLike[str], regions: Regions, vectors: NDArray[np.float32]
    ) -> None:
        """Add an image whose vectors are known already.

        Parameters
        ----------
        path : what to call it; no file needs to be there.
        regions : its R regions.
        vectors : float32 (R, D) unit vectors, as the descriptor gives them.
        """
        with writer_lock(self.path):
            self.put([(_absolute(path), regions, vectors)])

    def file_states(self) -> dict[str, tuple[int, int]]:
        """Return the (bytes, time of change) of each image's file when it was added."""
        return self._store.file_states()

    def put(self, images: Sequence[tuple[str, Regions, NDArray[np.float32]]]) -> None:
        """Add described images in one transaction; the caller holds the writer's lock."""
        dim = self.manifest["descriptor"]["dim"]
        self._current()
        ready = []
        for path, regions, vectors in images:
            if vectors.shape != (len(regions), dim):
                raise ValueError(
                    f"vectors must be {(len(regions), dim)}, one a region, got {vectors.shape}"
                )
            ready.append((path, regions, self._whiten(vectors.astype(np.float32, copy=False))))
        with self._store.transaction():
            for path, regions, vectors in ready:
                self._store.add(path, regions, vectors, adding.file_state(path))
        self._state = None

    def remove(self, image: str | os.PathLike[str]) -> None:
        """Remove an image.

        Raises
        ------
        KeyError : it is not in the index.
        IndexLockedError : another process is writing.
        """
        with writer_lock(self.path), self._store.transaction():
            if not self._store.remove(_absolute(image)):
                raise KeyError(f"{image} is not in the index {self.path}")
        self._state = None

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
        self._current()
        pca = self.manifest["pca"]
        if pca is not None and self._whitening is None:
            adding.fit_whitening(self._store, self.manifest["descriptor"]["dim"], pca)
        self._state = None
        self._current()
        renew_base(
            self.path, self._store, self.dim, self.manifest["factory"], whole=not grown, grown=grown
        )
        self._state = None

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
        state = self._current()
        sizes = self._store.sizes(state.table) if min_size > 0 else None
        scope = Scope(_chosen(state.table.paths, images), min_size, sizes)
        whitened = [(self._whiten(np.atleast_2d(its)), all_of) for its, all_of in queries]
        rankings = rank_images(whitened, k, self._store, state, scope)
        found = sorted({best.image for ranking in rankings for best in ranking})
        regions = self._store.regions(state.table.ids[found])
        return [
            [
                _hit(best, state.table.paths[best.image], its, all_of)
                for best in ranking
                if (its := regions.get(int(state.table.ids[best.image]))) is not None
            ]
            for ranking, (_, all_of) in zip(rankings, queries, strict=True)
        ]

    def _whiten(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._whitening(vectors) if self._whitening else vectors

    def _current(self) -> State:
        """Return the state of the index, read again if somebody has changed it."""
        version = self._store.version()
        if self._state is None or version != self._version:
            content = self._store.get("whitening")
            self._whitening = Whitening.from_bytes(content) if content else None
            dim = self.manifest["pca"] if content else self.manifest["descriptor"]["dim"]
            table = self._store.images()
            vectors = Vectors(self.path, self._store, table, dim, self.manifest["probes"])
            self._state = State(table, row_owners(table), vectors)
            self._version = version
        return self._state


def _absolute(image: str | os.PathLike[str]) -> str:
    return os.path.abspath(os.fspath(image))  # noqa: PTH100 (links are kept as they are)


def _chosen(paths: list[str], images: ImageFilter | None) -> NDArray[np.bool_]:
    if images is None:
        return np.ones(len(paths), bool)
    if callable(images):
        return np.array([bool(images(path)) for path in paths], bool)
    if isinstance(images, str):
        return np.array([fnmatch.fnmatch(path, images) for path in paths], bool)
    wanted = {_absolute(image) for image in images}
    return np.array([path in wanted for path in paths], bool)


def _hit(best: Best, path: str, regions: list[Stored], all_of: bool) -> Hit:
    parts = tuple(
        Hit(path, regions[region].box, float(score), regions[region].level)
        for region, score in zip(best.regions.tolist(), best.scores.tolist(), strict=True)
    )
    top = max(parts, key=lambda part: part.score)
    return Hit(path, top.box, best.score, top.level, parts if all_of else ())
