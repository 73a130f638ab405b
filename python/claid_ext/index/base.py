"""The vectors of an index, ready for faiss: a base in a file, and a tail that is not in it yet.

Rows 0 .. base - 1 are in a faiss index, kept in a file named in the table's state; rows from there
on are read from the table and compared one by one. A base is written to a new file first and then
named by a transaction, so that a kill leaves the old base or the new one, never half of one.

int8 vectors that are all compared have no base: `claid_ext.index.coded` reads them from the table.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.files import write_whole
from claid_ext.index.sqlite import RecordFile, RowTable

__all__ = [
    "check_factory",
    "import_faiss",
    "probe",
    "read_base",
    "read_rows",
    "renew_base",
    "sample_rows",
    "stays_in_records",
]

FLAT = "Flat"  # faiss's name for comparing all vectors
LEAST_BASE = 20_000  # rows; fewer are compared one by one in milliseconds
GROWTH = 0.1  # share of the base that the tail may reach before it is taken in
MAPPED_BYTES = 256 << 20  # base files over this are mapped instead of read
TRAINING_ROWS = 200_000  # sample that a quantiser is trained on, unless it needs more
ROWS_A_CENTROID = 39  # faiss warns below this
PQ_CENTROIDS = 256  # of 8 bits, what product quantisers mostly have


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


def read_rows(
    file: RecordFile, table: RowTable, chosen: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read the vectors of chosen images.

    Returns
    -------
    Their rows, int64 (T,), and float32 (T, D); D is 0 where there are none.
    """
    count = np.where(chosen, table.counts, 0)
    start = np.cumsum(count) - count
    place = dict(zip(table.ids[chosen].tolist(), start[chosen].tolist(), strict=True))
    vectors = np.empty((int(count.sum()), 0), np.float32)
    for image, record in file.records(table.ids[chosen]):
        its = record.unit_vectors
        if vectors.shape[1] == 0:
            vectors = np.empty((len(vectors), its.shape[1]), np.float32)
        vectors[place[image] : place[image] + len(its)] = its
    return np.repeat(table.first - start, count) + np.arange(len(vectors)), vectors


def sample_rows(file: RecordFile, table: RowTable, most: int) -> NDArray[np.float32]:
    """Read the vectors of evenly spread images, about `most` in all: float32 (n, D)."""
    chosen = np.zeros(len(table.ids), bool)
    chosen[_spread(table.counts, most)] = True
    return read_rows(file, table, chosen)[1]


def _spread(counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    step = max(1.0, counts.sum() / most)
    return np.arange(0, len(counts), step).astype(np.int64)


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


def stays_in_records(file: RecordFile, table: RowTable, factory: str) -> bool:
    """Whether vectors need no base: all are compared, and they are int8, as in the first image."""
    first = file.records(table.ids[:1]) if factory == FLAT else iter(())
    return any(record.vectors.dtype == np.int8 for _, record in first)


def renew_base(
    folder: Path, file: RecordFile, dim: int, factory: str, *, whole: bool, grown: bool
) -> bool:
    """Take the tail into the base if it is time, or make the base anew; says whether it did.

    Rows of removed images in the tail are given out again; `whole` does that to all rows.

    Parameters
    ----------
    folder, file : of the index.
    dim : of the vectors.
    factory : faiss's description of the base.
    whole : whether to make it anew.
    grown : whether to wait until the tail has grown (`GROWTH`).
    """
    table = file.images()
    needless = stays_in_records(file, table, factory)
    if grown and needless:
        return False
    base = None if whole else read_base(folder, file)
    base_rows = base.ntotal if base is not None else 0
    in_tail = table.first >= base_rows
    tail = int(table.counts[in_tail].sum())
    if grown and (tail < LEAST_BASE if base is None else tail <= GROWTH * base_rows):
        return False
    if base is None:
        base = None if needless else _new_base(file, table, dim, factory)
    else:
        base = read_base(folder, file, mapped=False)  # a mapped one cannot grow
        if base is None:  # it is damaged behind its head
            return renew_base(folder, file, dim, factory, whole=True, grown=False)
    first = table.first.copy()
    first[in_tail] = base_rows + np.cumsum(table.counts[in_tail]) - table.counts[in_tail]
    table = table._replace(first=first, rows=base_rows + tail)
    new_name = None
    if base is not None:
        _add_rows(base, file, table, in_tail)
        new_name = f"base-{uuid.uuid4().hex}.faiss"
        _write_base(base, folder / new_name)
    digest = None if new_name is None else _digest(folder / new_name)
    with file.transaction():
        file.renumber(table, in_tail)
        file.set("base", new_name)
        file.set("base digest", digest)
    remove_stray_bases(folder, file)
    return True


def _new_base(file: RecordFile, table: RowTable, dim: int, factory: str) -> Any:
    """Make and train a base without rows; None where there are too few vectors for one."""
    base = check_factory(factory, dim)
    needed = rows_to_train(base)
    if table.counts.sum() < max(needed, LEAST_BASE):
        return None
    if not base.is_trained:
        # More than needed: samples are of whole images, and may hold some rows fewer than asked.
        base.train(sample_rows(file, table, max(TRAINING_ROWS, 2 * needed)))
    return base


def _add_rows(base: Any, file: RecordFile, table: RowTable, chosen: NDArray[np.bool_]) -> None:
    """Add images' vectors to a faiss index in the order of their rows."""
    numbers = np.flatnonzero(chosen)
    ends = np.cumsum(table.counts[numbers])
    groups = np.searchsorted(ends, np.arange(0, int(ends[-1]) if len(ends) else 0, TRAINING_ROWS))
    for start, stop in zip(groups, [*groups[1:], len(numbers)], strict=True):
        some = np.zeros(len(chosen), bool)
        some[numbers[start:stop]] = True
        base.add(read_rows(file, table, some)[1])


def remove_stray_bases(folder: Path, file: RecordFile) -> None:
    """Remove files of bases that are no longer, or never were, part of the index."""
    named = file.get("base")
    for path in folder.glob("base-*.faiss*"):
        if path.name != named:
            with contextlib.suppress(OSError):  # Windows keeps files that a reader has mapped
                path.unlink()


def _write_base(base: Any, path: Path) -> None:
    faiss = import_faiss()
    try:
        write_whole(path, lambda part: faiss.write_index(base, str(part)), durable=True)
    except (RuntimeError, OSError) as error:
        why = str(error).strip().rpartition("\n")[2]
        raise OSError(f"{path}: the faiss index cannot be written: {why}") from error


def read_base(folder: Path, file: RecordFile, mapped: bool = True) -> Any:
    """Read the base, None where there is none; large ones are mapped, and then cannot grow.

    One that is damaged is passed over with a warning: every answer can be had without it.
    """
    name = file.get("base")
    if name is None:
        return None
    faiss = import_faiss()
    path = folder / name
    try:
        if _digest(path) != file.get("base digest"):
            raise OSError("its checksum does not fit its content")
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


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, partial(hashlib.blake2b, digest_size=16)).hexdigest()


def probe(base: Any, probes: int) -> bool:
    """Have an inverted file look into so many cells; says whether those are all it has."""
    faiss = import_faiss()
    try:
        inverted = faiss.extract_index_ivf(base)
    except RuntimeError:
        return True
    inverted.nprobe = min(inverted.nlist, probes)
    return bool(inverted.nprobe == inverted.nlist)
