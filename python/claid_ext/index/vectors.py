"""All vectors of an index, ready for faiss: a base in a file, and a tail that is not in it yet.

Rows 0 .. base - 1 are in a faiss index, kept in a file named in the store's state; rows from there
on are read from the store and compared one by one. A base is written to a new file first and then
named by a transaction, so that a kill leaves the old base or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import os
import uuid
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claid_ext.index.store import ImageTable, Store

__all__ = [
    "MAPPED_BYTES",
    "Candidates",
    "Vectors",
    "check_factory",
    "check_vectors",
    "import_faiss",
]

LEAST_BASE = 20_000  # rows; fewer are compared one by one in milliseconds
GROWTH = 0.1  # share of the base that the tail may reach before it is taken in
MAPPED_BYTES = 256 << 20  # base files over this are mapped instead of read
TRAINING_ROWS = 200_000  # sample that a quantiser is trained on, unless it needs more
ROWS_A_CENTROID = 39  # faiss warns below this
PQ_CENTROIDS = 256  # of 8 bits, what product quantisers mostly have
UNIT_LENGTH = 0.01  # by what a vector's length may differ from 1; float16 needs a part of it


def import_faiss() -> Any:
    """Import faiss, or say which extra brings it."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError("the index needs faiss: pip install 'claid_ext[search]'") from error
    return faiss


def check_factory(factory: str, dim: int) -> Any:
    """Make an empty faiss index, for inner products, of a factory string.

    Raises
    ------
    ValueError : faiss does not know it, or not for this dimension.
    """
    faiss = import_faiss()
    try:
        return faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        why = str(error).strip().rpartition("\n")[2]
        raise ValueError(f"factory {factory!r} for {dim} dimensions: {why}") from None


def check_vectors(name: str, vectors: Any, rows: int | None, dim: int) -> NDArray[np.float32]:
    """Return vectors as float32 (rows, dim); None for any number of rows, at least one.

    Raises
    ------
    TypeError : they are no floats.
    ValueError : another shape, values that are not finite, lengths other than 1 or 0.
    """
    given = np.asarray(vectors)
    if given.dtype.kind != "f":
        raise TypeError(f"{name} must be floats, got {given.dtype}")
    if given.ndim == 1 and rows is None:
        given = given[None]
    wanted = (rows if rows is not None else max(1, given.shape[0]), dim)
    if given.shape != wanted:
        asked = f"({'B' if rows is None else rows}, {dim})"
        raise ValueError(f"{name} must be {asked}, one a region, got {given.shape}")
    ready: NDArray[np.float32] = given.astype(np.float32, copy=False)
    length = np.sqrt(np.einsum("rd,rd->r", ready, ready))
    if not np.isfinite(length).all():
        raise ValueError(f"{name} must be finite, got {ready[~np.isfinite(length)][0]}")
    # A region without any feature has no direction, and is described by zeros.
    if (wrong := (np.abs(length - 1) > UNIT_LENGTH) & (length > 0)).any():
        raise ValueError(f"{name} must be of length 1, got {length[wrong][0]:g}")
    return ready


class Candidates(NamedTuple):
    """What a search of rows found for one query, best first; `scores` may be approximate.

    `exhausted` says that there are no more rows to be had with this effort.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    exhausted: bool


class Vectors:
    """The rows of one state of the store. Made anew when the store has changed."""

    def __init__(
        self, folder: Path, store: Store, table: ImageTable, dim: int, probes: int
    ) -> None:
        """Open the base, if there is one, and read the tail."""
        self.probes = probes
        self.base = _read_base(folder, store)
        base_rows = self.base.ntotal if self.base is not None else 0
        in_tail = table.first >= base_rows
        self.tail_rows, self.tail = read_rows(store, table, in_tail, dim)

    @property
    def exact(self) -> bool:
        """Whether the rows found are surely the best, and their scores those of the vectors."""
        return self.base is None or isinstance(self.base, import_faiss().IndexFlat)

    def search(self, queries: NDArray[np.float32], count: int, effort: int) -> list[Candidates]:
        """Find the rows of highest inner product.

        Parameters
        ----------
        queries : float32 (Q, dim).
        count : how many rows a query, at most.
        effort : by how much to multiply the number of cells an inverted file looks into.
        """
        found = [self._tail_candidates(query, count) for query in queries]
        if self.base is None:
            return found
        complete = _probe(self.base, self.probes * effort)
        asked = min(count, self.base.ntotal)
        scores, rows = self.base.search(queries, asked)
        merged = []
        for query_rows, query_scores, tail in zip(rows, scores, found, strict=True):
            real = query_rows >= 0
            all_rows = np.concatenate([query_rows[real], tail.rows])
            all_scores = np.concatenate([query_scores[real], tail.scores])
            best = np.argsort(-all_scores, kind="stable")[:count]
            used_up = (asked == self.base.ntotal or not real.all()) and complete and tail.exhausted
            merged.append(Candidates(all_rows[best], all_scores[best], used_up))
        return merged

    def _tail_candidates(self, query: NDArray[np.float32], count: int) -> Candidates:
        scores = self.tail @ query
        if count < len(scores):
            best = np.argpartition(-scores, count)[:count]
            best = best[np.argsort(-scores[best], kind="stable")]
        else:
            best = np.argsort(-scores, kind="stable")
        return Candidates(self.tail_rows[best], scores[best], count >= len(scores))


def read_rows(
    store: Store, table: ImageTable, chosen: NDArray[np.bool_], dim: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read the vectors of chosen images: their rows, int64 (T,), and float32 (T, dim)."""
    count = np.where(chosen, table.counts, 0)
    start = np.cumsum(count) - count
    place = dict(zip(table.ids[chosen].tolist(), start[chosen].tolist(), strict=True))
    vectors = np.empty((int(count.sum()), dim), np.float32)
    for image, its in store.vectors(table.ids[chosen], dim):
        vectors[place[image] : place[image] + len(its)] = its
    return np.repeat(table.first - start, count) + np.arange(len(vectors)), vectors


def sample_rows(store: Store, table: ImageTable, dim: int, most: int) -> NDArray[np.float32]:
    """Read the vectors of evenly spread images, about `most` in all: float32 (n, dim)."""
    step = max(1.0, table.counts.sum() / most)
    chosen = np.zeros(len(table.ids), bool)
    chosen[np.arange(0, len(table.ids), step).astype(np.int64)] = True
    return read_rows(store, table, chosen, dim)[1]


def rows_to_train(index: Any) -> int:
    """How many vectors a faiss index needs before it can be trained; 0 if it needs no training."""
    if index.is_trained:
        return 0
    faiss = import_faiss()
    try:
        cells = faiss.extract_index_ivf(index).nlist
    except RuntimeError:
        cells = 0
    return ROWS_A_CENTROID * max(int(cells), PQ_CENTROIDS)


def renew_base(
    folder: Path, store: Store, dim: int, factory: str, *, whole: bool, grown: bool
) -> bool:
    """Take the tail into the base if it is time, or make the base anew; says whether it did.

    Rows of removed images in the tail are given out again; `whole` does that to all rows.

    Parameters
    ----------
    folder, store : of the index.
    dim : of the vectors.
    factory : faiss's description of the base.
    whole : whether to make it anew.
    grown : whether to wait until the tail has grown (`GROWTH`).
    """
    table = store.images()
    base = None if whole else _read_base(folder, store)
    base_rows = base.ntotal if base is not None else 0
    in_tail = table.first >= base_rows
    tail = int(table.counts[in_tail].sum())
    if grown and (tail < LEAST_BASE if base is None else tail <= GROWTH * base_rows):
        return False
    if base is None:
        base = _new_base(store, table, dim, factory)
    else:
        base = _read_base(folder, store, mapped=False)  # a mapped one cannot grow
        if base is None:  # it is damaged behind its head
            return renew_base(folder, store, dim, factory, whole=True, grown=False)
    first = table.first.copy()
    first[in_tail] = base_rows + np.cumsum(table.counts[in_tail]) - table.counts[in_tail]
    table = table._replace(first=first, rows=base_rows + tail)
    new_name = None
    if base is not None:
        _add_rows(base, store, table, in_tail, dim)
        new_name = f"base-{uuid.uuid4().hex}.faiss"
        _write_base(base, folder / new_name)
    with store.transaction():
        store.renumber(table.ids[in_tail].tolist(), first[in_tail].tolist(), table.rows)
        store.set("base", new_name)
    remove_stray_bases(folder, store)
    return True


def _new_base(store: Store, table: ImageTable, dim: int, factory: str) -> Any:
    """Make and train a base without rows; None where there are too few vectors for one."""
    base = check_factory(factory, dim)
    needed = rows_to_train(base)
    if table.counts.sum() < max(needed, LEAST_BASE):
        return None
    if not base.is_trained:
        # More than needed: samples are of whole images, and may hold some rows fewer than asked.
        base.train(sample_rows(store, table, dim, max(TRAINING_ROWS, 2 * needed)))
    return base


def _add_rows(
    base: Any, store: Store, table: ImageTable, chosen: NDArray[np.bool_], dim: int
) -> None:
    """Add images' vectors to a faiss index in the order of their rows."""
    numbers = np.flatnonzero(chosen)
    ends = np.cumsum(table.counts[numbers])
    groups = np.searchsorted(ends, np.arange(0, int(ends[-1]) if len(ends) else 0, TRAINING_ROWS))
    for start, stop in zip(groups, [*groups[1:], len(numbers)], strict=True):
        some = np.zeros(len(chosen), bool)
        some[numbers[start:stop]] = True
        base.add(read_rows(store, table, some, dim)[1])


def remove_stray_bases(folder: Path, store: Store) -> None:
    """Remove files of bases that are no longer, or never were, part of the index."""
    named = store.get("base")
    for path in folder.glob("base-*.faiss*"):
        if path.name != named:
            with contextlib.suppress(OSError):  # Windows keeps files that a reader has mapped
                path.unlink()


def _write_base(base: Any, path: Path) -> None:
    faiss = import_faiss()
    try:
        faiss.write_index(base, str(path))
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    except (RuntimeError, OSError) as error:
        path.unlink(missing_ok=True)
        why = str(error).strip().rpartition("\n")[2]
        raise OSError(f"{path}: the faiss index cannot be written: {why}") from error


def _read_base(folder: Path, store: Store, mapped: bool = True) -> Any:
    """Read the base, None where there is none; large ones are mapped, and then cannot grow."""
    name = store.get("base")
    if name is None:
        return None
    faiss = import_faiss()
    path = folder / name
    try:
        large = mapped and path.stat().st_size > MAPPED_BYTES
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if large else 0)
    except (RuntimeError, OSError) as error:
        why = str(error).strip().rpartition("\n")[2]
        warnings.warn(
            f"{path} cannot be read ({why}); all vectors are read from the table instead. "
            "Compact the index to make it again",
            stacklevel=2,
        )
        return None


def _probe(base: Any, probes: int) -> bool:
    """Have an inverted file look into so many cells; says whether that is all of a base."""
    faiss = import_faiss()
    try:
        inverted = faiss.extract_index_ivf(base)
    except RuntimeError:
        return True
    inverted.nprobe = min(inverted.nlist, probes)
    return bool(inverted.nprobe == inverted.nlist)
