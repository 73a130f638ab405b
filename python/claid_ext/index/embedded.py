"""The store of one machine, a folder: records in SQLite, and a faiss index derived from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.index import base as faiss_base
from claid_ext.index.coded import CodedRows, read_coded
from claid_ext.index.lock import writer_lock
from claid_ext.index.ranking import is_among
from claid_ext.index.sqlite import RecordFile
from claid_ext.index.store import Candidates, Entry, FileState, ImageTable
from claid_ext.record import CellMap, ImageRecord
from claid_ext.vectors import VECTOR_UNIT

__all__ = ["EmbeddedStore", "EmbeddedView"]


class EmbeddedStore:
    """A folder with the SQLite table of records and a faiss index; see `Store`.

    Vectors that are not yet in faiss's index are compared one by one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dim: int | None = None,
        state: dict[str, Any] | None = None,
        factory: str = "Flat",
        probes: int = 32,
    ) -> None:
        """Open the store in a folder, or make it.

        Parameters
        ----------
        folder : where the store is.
        dim : length of the vectors, to make a new store; None to open one.
        state : entries of a new store's state.
        factory : faiss's description of the index. Other than "Flat", it is used from the moment
            there are enough vectors to train it; until then all are compared.
        probes : cells that an inverted file ("IVF...") looks into for a query.

        Raises
        ------
        InvalidIndexError : there is no store, or it is not a database.
        """
        self.folder = folder
        self.factory = factory
        self.probes = probes
        self._file = RecordFile(folder, create=dim is not None)
        if dim is not None:
            with self._file.transaction():
                for name, value in {**(state or {}), "dim": dim}.items():
                    self._file.set(name, value)
        self._view: EmbeddedView | None = None
        self._version = -1
        self._locked = False

    @property
    def dim(self) -> int:
        """D of the vectors as they are stored now."""
        return int(self._file.get("dim"))

    def close(self) -> None:
        """Close the files. The store cannot be used afterwards."""
        self._view = None
        self._file.close()

    def upsert(self, entries: Sequence[Entry], state: dict[str, Any] | None = None) -> None:
        """Store images, and set entries of the state, in one transaction."""
        with self._transaction():
            for name, value in (state or {}).items():
                self._file.set(name, value)
            dim = self.dim
            for entry in entries:
                if (its := entry.record.vectors.shape[1]) != dim:
                    raise ValueError(f"{entry.path}: vectors must be (R, {dim}), got (R, {its})")
                self._file.add(entry)

    def delete_images(self, paths: Sequence[str]) -> int:
        """Remove images in one transaction."""
        with self._transaction():
            return sum(self._file.remove(path) for path in paths)

    def recode(self, records: Iterator[tuple[int, ImageRecord]], state: dict[str, Any]) -> None:
        """Replace records and set the state in one transaction; the faiss index goes."""
        with self._transaction():
            dim, count = self.dim, 0
            for image, record in records:
                self._file.set_record(image, record)
                dim, count = record.vectors.shape[1], count + 1
            if dim != self.dim and count < len(self._file.images().ids):
                raise ValueError(f"records of {dim} dimensions must be given for every image")
            state = {"dim": dim, **state}
            for name, value in {**state, "base": None, "base digest": None}.items():
                self._file.set(name, value)

    def settle(self, *, whole: bool = False) -> None:
        """Take vectors into the faiss index if they are many; `whole`: all, and give space back."""
        with self.writing():
            faiss_base.renew_base(
                self.folder, self._file, self.dim, self.factory, whole=whole, grown=not whole
            )
            if whole:
                self._file.vacuum()
        self._view = None

    def file_states(self) -> dict[str, FileState]:
        """Return the state that each image's file had when it was stored, by path."""
        return self._file.file_states()

    def holds(self, path: str) -> bool:
        """Whether there is an image of this path."""
        return self._file.holds(path)

    def record_bytes(self) -> NDArray[np.int64]:
        """Return how many bytes the record of each image takes, maps included, int64 (M,)."""
        return self._file.record_bytes()

    def get(self, name: str) -> Any:
        """Return an entry of the state, None where there is none."""
        return self._file.get(name)

    @contextmanager
    def reading(self) -> Iterator[EmbeddedView]:
        """Hold one state still; it is read again if another process has changed it."""
        with self._file.reading():
            version = self._file.version()
            if self._view is None or version != self._version:
                self._view = EmbeddedView(self.folder, self._file, self.factory, self.probes)
                self._version = version
            yield self._view

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock, as every method that writes does by itself."""
        if self._locked:
            yield
            return
        with writer_lock(self.folder):
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self.writing(), self._file.transaction():
            yield
        self._view = None


class EmbeddedView:
    """One state of an `EmbeddedStore`, read inside `EmbeddedStore.reading`; see `StoreView`."""

    def __init__(self, folder: Path, file: RecordFile, factory: str, probes: int) -> None:
        """Read the table of images; vectors are read when a search needs them."""
        self._folder = folder
        self._file = file
        self._factory = factory
        self._probes = probes
        self._rows = file.images()
        order = np.argsort(self._rows.ids)
        self.table = ImageTable(
            self._rows.ids[order],
            self._rows.counts[order],
            [self._rows.paths[i] for i in order.tolist()],
        )

    @property
    def exact(self) -> bool:
        """Whether all vectors are compared."""
        return self.base is None or isinstance(self.base, faiss_base.import_faiss().IndexFlat)

    @property
    def score_error(self) -> float:
        """What int8 vectors cost where all are compared as they are stored, else 0."""
        return self._coded.error if self._coded is not None else 0.0

    @cached_property
    def _coded(self) -> CodedRows | None:
        """All vectors as int8; None where they are few, not int8, or in a base."""
        rows = self._rows
        if rows.counts.sum() < faiss_base.LEAST_BASE:
            return None
        if not faiss_base.stays_in_records(self._file, rows, self._factory):
            return None
        return read_coded(self._file, rows.ids[rows.counts > 0], int(self._file.get("dim")))

    @cached_property
    def base(self) -> Any:
        """The faiss index that is kept in a file, None where there is none."""
        return None if self._coded is not None else faiss_base.read_base(self._folder, self._file)

    @cached_property
    def _tail(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Images (T,) and vectors (T, D) of the rows that are not in a faiss index."""
        if self._coded is not None:
            return self._coded.aside
        base_rows = self.base.ntotal if self.base is not None else 0
        rows, vectors = faiss_base.read_rows(self._file, self._rows, self._rows.first >= base_rows)
        return self._owner[rows], vectors

    @cached_property
    def _owner(self) -> NDArray[np.int64]:
        """The id of each row's image, int64 (rows,); -1 for removed ones."""
        table = self._rows
        owner = np.full(table.rows, -1, np.int64)
        start = np.cumsum(table.counts) - table.counts
        inside = np.arange(int(table.counts.sum())) - np.repeat(start, table.counts)
        owner[np.repeat(table.first, table.counts) + inside] = np.repeat(table.ids, table.counts)
        return owner

    @property
    def most_candidates(self) -> None:
        """Any number."""

    def candidates(
        self,
        queries: NDArray[np.float32],
        count: int,
        effort: int,
        where: NDArray[np.int64] | None = None,
    ) -> list[Candidates]:
        """Find the vectors of highest inner product, in a faiss index and behind it."""
        found = [self._tail_candidates(query, count) for query in queries]
        if self._coded is not None:
            index, owner, step, complete = self._coded.index, self._coded.images, VECTOR_UNIT, True
        elif self.base is not None:
            index, owner, step = self.base, self._owner, 1
            complete = faiss_base.probe(index, self._probes * effort)
        else:
            return found
        asked = min(count, index.ntotal)
        if asked == 0:
            return found
        scores, rows = index.search(np.ascontiguousarray(queries), asked)
        merged = []
        for query_rows, query_scores, tail in zip(rows, scores, found, strict=True):
            real = query_rows >= 0
            all_images = np.concatenate([owner[query_rows[real]], tail.images])
            all_scores = np.concatenate([query_scores[real] / step, tail.scores])
            best = np.argsort(-all_scores, kind="stable")[:count]
            used_up = (asked == index.ntotal or not real.all()) and complete and tail.exhausted
            merged.append(Candidates(all_images[best], all_scores[best], used_up))
        return merged

    def _tail_candidates(self, query: NDArray[np.float32], count: int) -> Candidates:
        images, vectors = self._tail
        if len(images) == 0:
            return Candidates(images, np.empty(0, np.float32), True)
        scores = vectors @ query
        if count < len(scores):
            best = np.argpartition(-scores, count)[:count]
            best = best[np.argsort(-scores[best], kind="stable")]
        else:
            best = np.argsort(-scores, kind="stable")
        return Candidates(images[best], scores[best], count >= len(scores))

    def records(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, ImageRecord]]:
        """Yield (id, record without maps) of images."""
        return self._file.records(self._known(ids))

    def maps(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, tuple[CellMap, ...]]]:
        """Yield (id, maps) of images that have maps."""
        return self._file.maps(self._known(ids))

    def _known(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return ids[is_among(ids, self.table.ids)]
