"""The store of a Milvus server: it proposes images; their records are read from the data set.

No grouping of the server is trusted: rows are asked for until k distinct images are proven
(`claid_ext.index.ranking`), and ranked by the vectors in their records. Reads are of consistency
"Strong": with any weaker one, removed rows are found for a while after their removal.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.errors import IndexMismatchError, InvalidIndexError, StoreUnavailableError
from claid_ext.index.ranking import is_among
from claid_ext.index.store import Candidates, Entry, FileState, ImageTable
from claid_ext.record import CellMap, ImageRecord, check_record
from claid_ext.scale.dataset import POSITION_BITS, REGION_BITS, DataSet, ImageRow, Listed
from claid_ext.scale.stores.catalog import Catalog, read_catalog, write_catalog
from claid_ext.scale.stores.client import import_pymilvus
from claid_ext.scale.stores.record_files import RecordFiles, RecordView, live_images

__all__ = ["INDEXES", "MilvusStore", "MilvusView"]

INDEXES = ("IVF_SQ8", "FLAT")
MOST_ROWS = 16_384  # Milvus' limit of rows a query
ROWS_AT_ONCE = 10_000  # inserted in one call: 8 MiB of 208 dimensions, its limit being 64
IDS_AT_ONCE = 4096  # in an expression
CALL_SECONDS = 120  # a whole number, or else the client tries again for minutes
CELLS, PROBES = 1024, 32  # of IVF, in each of the server's segments of some 600,000 rows
KEY, IMAGE, VECTOR = "key", "image", "vector"


class MilvusStore:
    """A collection of a Milvus server with the vectors of a data set; see `Store`.

    Attributes
    ----------
    dataset : where the records are. A writer's lock is in its folder; on an object store there is
        none: let one process write at a time.
    """

    def __init__(
        self,
        uri: str,
        dataset: DataSet,
        *,
        collection: str | None = None,
        create: bool = False,
        index: str = INDEXES[0],
        timeout: int = CALL_SECONDS,
    ) -> None:
        """Open a collection, or make it where there is none.

        Parameters
        ----------
        uri : of the server, such as http://127.0.0.1:19530.
        dataset : whose vectors it has.
        collection : its name, None for one that follows from the data set.
        create : whether to make it.
        index : of a new one: "IVF_SQ8" looks into 32 of 1,024 cells and more from round to round;
            "FLAT" compares all vectors, and so proposes surely the nearest.
        timeout : seconds that a call may take, with all that the client tries again.

        Raises
        ------
        StoreUnavailableError : the server does not answer.
        InvalidIndexError : there is no such collection, or it is not one of ours.
        IndexMismatchError : it has the vectors of another data set.
        """
        if index not in INDEXES:
            raise ValueError(f"index must be one of {', '.join(INDEXES)}, got {index!r}")
        self._milvus = import_pymilvus()
        self._alias, self._timeout = uuid.uuid4().hex, timeout
        self.dataset, self._records = dataset, RecordFiles(dataset)
        self._view: tuple[Catalog, RecordView] | None = None
        self._held: MilvusView | None = None
        self._locked = False
        self._name = collection or f"claid_{dataset.manifest['id']}"
        with self._errors():
            self._milvus.connections.connect(self._alias, uri=uri, timeout=timeout)
            self._collection = self._opened(uri, create, index)

    def _opened(self, uri: str, create: bool, index: str) -> Any:
        milvus, its = self._milvus, {"using": self._alias}
        there = milvus.utility.has_collection(self._name, timeout=self._timeout, **its)
        if not there and not create:
            raise InvalidIndexError(f"{uri} has no collection {self._name}: run `claid load` first")
        if there:
            collection = milvus.Collection(self._name, **its)
        else:
            about = {"claid_ext": 1, "data set": self.dataset.manifest["id"],
                     "store": uuid.uuid4().hex, "index": index}  # fmt: skip
            kinds = milvus.DataType
            fields = [
                milvus.FieldSchema(KEY, kinds.INT64, is_primary=True),
                milvus.FieldSchema(IMAGE, kinds.INT64),
                milvus.FieldSchema(VECTOR, kinds.FLOAT_VECTOR, dim=self.dataset.dim),
            ]
            schema = milvus.CollectionSchema(fields, description=json.dumps(about))
            collection = milvus.Collection(self._name, schema, consistency_level="Strong", **its)
        try:
            about = json.loads(collection.description)
            self._catalog_name = f"stores/{about['store']}.json"
            self._index = about["index"]
        except (ValueError, KeyError, TypeError):
            raise InvalidIndexError(f"the collection {self._name} of {uri} is not ours") from None
        if about["data set"] != self.dataset.manifest["id"]:
            raise IndexMismatchError(
                f"the collection {self._name} of {uri} has the vectors of another data set than "
                f"{self.dataset.files.shown()}"
            )
        if create and not collection.has_index(timeout=self._timeout):
            params = {"nlist": CELLS} if self._index == "IVF_SQ8" else {}
            how = {"index_type": self._index, "metric_type": "IP", "params": params}
            collection.create_index(VECTOR, how, timeout=self._timeout)
        collection.load(timeout=self._timeout)
        return collection

    @property
    def dim(self) -> int:
        """D of the vectors."""
        return self.dataset.dim

    def close(self) -> None:
        """Close the connection. The store cannot be used afterwards."""
        self._milvus.connections.disconnect(self._alias)

    def clear(self) -> None:
        """Take all vectors from the server; the data set stays."""
        with self.writing(), self._errors():
            self._commit(Catalog())
            self._collection.delete(f"{KEY} >= 0", timeout=self._timeout)

    def drop(self) -> None:
        """Remove the collection from the server; the data set stays."""
        with self._errors():
            self._collection.drop(timeout=self._timeout)

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Store images as a new shard of the data set."""
        with self.writing():
            last: dict[str, Entry] = {}
            for entry in entries:
                if (its := check_record(entry.record, entry.path).vectors.shape[1]) != self.dim:
                    raise ValueError(
                        f"{entry.path}: vectors must be (R, {self.dim}), got (R, {its})"
                    )
                last.pop(entry.path, None)  # a later one takes the place of an earlier one
                last[entry.path] = entry
            if not last:
                return
            in_order = list(last.values())
            with self.reading() as view:
                numbers = dict(zip(view.table.paths, view.table.ids.tolist(), strict=True))
            replaces = [[numbers[e.path]] if e.path in numbers else [] for e in in_order]
            listed = [Listed(entry.path, entry.file) for entry in in_order]
            shard = self.dataset.next_shard()
            self.dataset.add_listing(shard, listed, replaces)
            photos: list[ImageRow] = self.dataset.listing(shard)
            self.dataset.write_shard(shard, photos, [entry.record for entry in in_order])
            self.take(shard, np.empty(0, np.int64))
            self._delete([number for its in replaces for number in its])

    def delete_images(self, paths: Sequence[str]) -> int:
        """Remove images from the data set and from the server."""
        with self.writing():
            with self.reading() as view:
                gone = set(paths)
                table = zip(view.table.paths, view.table.ids.tolist(), strict=True)
                images = [image for path, image in table if path in gone]
            if images:
                removals = self.dataset.add_removed(images)
                self._commit(self.catalog()._replace(removals=removals))
                self._delete(images)
        return len(images)

    def take(self, shard: int, dead: NDArray[np.int64]) -> bool:
        """Bring the server to have the vectors of a finished shard, each once; then show it.

        Parameters
        ----------
        shard : of the data set.
        dead : int64 (n,), ascending: images that are removed or replaced.

        Returns
        -------
        Whether anything was missing, or there too many times.
        """
        with self.writing(), self._errors():
            catalog = self.catalog()
            images, counts = live_images(self.dataset, shard, dead)
            first, end = (number << POSITION_BITS + REGION_BITS for number in (shard, shard + 1))
            of_shard = f"{KEY} >= {first} and {KEY} < {end}"
            wrong = self._count(of_shard) != counts.sum()
            if wrong:
                self._collection.delete(of_shard, timeout=self._timeout)
                self._insert(shard, images)
            if shard in catalog.shards and not wrong:
                return False
            self._commit(catalog._replace(shards=catalog.shards | {shard}))
            return True

    def _insert(self, shard: int, images: NDArray[np.int64]) -> None:
        keys, owners, vectors = self.dataset.vectors(shard)
        alive = np.flatnonzero(is_among(owners, images))
        for start in range(0, len(alive), ROWS_AT_ONCE):
            some = alive[start : start + ROWS_AT_ONCE]
            rows = [keys[some], owners[some], vectors[some]]
            self._collection.insert(rows, timeout=self._timeout)

    def follow_removals(self, images: Sequence[int], removals: int) -> None:
        """Hide removed images, and take them from the server; `removals` are then followed."""
        with self.writing():
            if removals > self.catalog().removals:
                self._commit(self.catalog()._replace(removals=removals))
                self._delete(images)

    def _delete(self, images: Sequence[int]) -> None:
        with self._errors():
            for start in range(0, len(images), IDS_AT_ONCE):
                some = [int(image) for image in images[start : start + IDS_AT_ONCE]]
                self._collection.delete(f"{IMAGE} in {some}", timeout=self._timeout)

    def _count(self, where: str) -> int:
        (found,) = self._collection.query(
            where, ["count(*)"], consistency_level="Strong", timeout=self._timeout
        )
        return int(found["count(*)"])

    def rows(self) -> int:
        """Return how many vectors the server has."""
        with self._errors():
            return self._count(f"{KEY} >= 0")

    def catalog(self) -> Catalog:
        """Return what the store holds now."""
        return read_catalog(self.dataset.files, self._catalog_name)

    def _commit(self, catalog: Catalog) -> None:
        write_catalog(self.dataset.files, self._catalog_name, catalog)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock, as every method that writes does by itself."""
        if self._locked:
            yield
            return
        with self.dataset.files.writing("stores"):
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    @contextmanager
    def reading(self) -> Iterator[MilvusView]:
        """Hold one state still, but for candidates: images removed since may be missing."""
        if self._held is not None:
            yield self._held
            return
        catalog = self.catalog()
        if self._view is None or self._view[0] != catalog:
            self._view = catalog, self._records.view(*catalog)
        self._held = MilvusView(self, self._view[1])
        try:
            yield self._held
        finally:
            self._held = None

    def search(
        self, queries: NDArray[np.float32], count: int, probes: int, where: NDArray[np.int64] | None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Return the images and inner products of the nearest rows of each query, best first."""
        params = {"nprobe": min(probes, CELLS)} if self._index == "IVF_SQ8" else {}
        few = where is not None and len(where) <= IDS_AT_ONCE
        with self._errors():
            found = self._collection.search(
                np.ascontiguousarray(queries),
                VECTOR,
                {"metric_type": "IP", "params": params},
                count,
                expr=f"{IMAGE} in {where.tolist()}" if few and where is not None else None,
                consistency_level="Strong",
                timeout=self._timeout,
            )
        return [
            (np.array(hits.ids, np.int64) >> REGION_BITS, np.array(hits.distances, np.float32))
            for hits in found
        ]

    @property
    def exact(self) -> bool:
        """Whether the server compares all vectors."""
        return bool(self._index == "FLAT")

    def file_states(self) -> dict[str, FileState]:
        """Return the state that each image's file had when it was listed, by path."""
        with self.reading() as view:
            return view.files.file_states()

    def record_bytes(self) -> NDArray[np.int64]:
        """Return how many bytes the record of each image takes, maps included, int64 (M,)."""
        with self.reading() as view:
            return view.files.record_bytes()

    def holds(self, path: str) -> bool:
        """Whether there is an image of this path."""
        with self.reading() as view:
            return path in view.table.paths

    def get(self, name: str) -> Any:
        """Return an entry of the state, None where there is none: of the data set's manifest."""
        if name == "basis":
            return self.dataset.basis_bytes()
        names = {"basis fingerprint": "basis"}
        return self.dataset.manifest.get(names.get(name, name))

    def settle(self, *, whole: bool = False) -> None:
        """Let the server index what it has; by itself it does so when it has many rows more."""
        with self.writing(), self._errors():
            if whole:
                self._collection.flush(timeout=self._timeout)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._milvus.MilvusException as error:
            raise StoreUnavailableError(f"the Milvus server: {error.message or error}") from error


class MilvusView:
    """One state of a `MilvusStore`, read inside `MilvusStore.reading`; see `StoreView`."""

    score_error = 0.0

    def __init__(self, store: MilvusStore, files: RecordView) -> None:
        """Take the parts: what proposes, and the records."""
        self._store = store
        self.files = files

    @property
    def table(self) -> ImageTable:
        """All images."""
        return self.files.table

    @property
    def exact(self) -> bool:
        """Whether the server compares all vectors."""
        return self._store.exact

    @property
    def most_candidates(self) -> int:
        """The server's limit."""
        return MOST_ROWS

    def candidates(
        self,
        queries: NDArray[np.float32],
        count: int,
        effort: int,
        where: NDArray[np.int64] | None = None,
    ) -> list[Candidates]:
        """Ask the server for the vectors of highest inner product."""
        asked = min(count, MOST_ROWS)
        merged = []
        for images, scores in self._store.search(queries, asked, PROBES * effort, where):
            known = np.where(is_among(images, self.table.ids), images, -1)
            merged.append(Candidates(known, scores, len(images) < asked))
        return merged

    def records(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, ImageRecord]]:
        """Yield (id, record without maps) of images."""
        return self.files.records(ids)

    def maps(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, tuple[CellMap, ...]]]:
        """Yield (id, maps) of images that have maps."""
        return self.files.maps(ids)
