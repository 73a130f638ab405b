"""The table of images and their records: one SQLite file, each image in one transaction.

SQLite and not Parquet: it comes with Python, and a transaction is all that "an image wholly or not
at all" needs. Everything that is derived from it, such as the faiss index beside it, can always be
made again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claid_ext.errors import InvalidIndexError
from claid_ext.index.store import Entry, FileState
from claid_ext.record import CellMap, ImageRecord, maps_from_bytes, maps_to_bytes

__all__ = ["FILE", "RecordFile", "RowTable"]

FILE = "records.sqlite"
BUSY_SECONDS = 30.0  # a commit waits so long for another connection's
IDS_AT_ONCE = 500  # SQLite's older limit of parameters is 999

_SCHEMA = """
CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, so that a reader cannot mix two up
    path TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL, modified INTEGER NOT NULL,  -- of the file: length, time of change in ns
    first INTEGER NOT NULL, count INTEGER NOT NULL,  -- its rows in the order of all vectors
    checksum INTEGER NOT NULL  -- CRC-32 of the five columns before
);
CREATE TABLE records (image INTEGER PRIMARY KEY, data BLOB NOT NULL);  -- without maps
CREATE TABLE maps (image INTEGER PRIMARY KEY, data BLOB NOT NULL);  -- read by the second stage only
CREATE TABLE state (name TEXT PRIMARY KEY, value);
INSERT INTO state VALUES ('rows', 0);  -- rows given out so far, those of removed images included
"""


class RowTable(NamedTuple):
    """The images by their first row. M is their number.

    `ids`, `first`, `counts` are int64 (M,), `paths` (M,) strings; the rows of image i are
    first[i] .. first[i] + counts[i] - 1, and `rows` are given out in all.
    """

    ids: NDArray[np.int64]
    first: NDArray[np.int64]
    counts: NDArray[np.int64]
    paths: list[str]
    rows: int


class RecordFile:
    """The SQLite file of an index; every method raises OSError where the disk is full."""

    def __init__(self, folder: Path, create: bool = False) -> None:
        """Open the file in `folder`, or make it.

        Raises
        ------
        InvalidIndexError : there is none, or it is no database.
        """
        self.path = folder / FILE
        if not create and not self.path.is_file():
            raise InvalidIndexError(f"{folder} is no instance index: it has no {FILE}")
        with self._errors():
            self._connection = self._connect(create)

    def _connect(self, create: bool) -> sqlite3.Connection:
        uri = self.path.resolve().as_uri()
        read_only = not os.access(self.path.parent, os.W_OK)
        if read_only:
            # Immutable needs no files beside it, but passes over what is in the log alone.
            logged = self.path.with_name(f"{FILE}-wal").exists()
            uri += "?mode=ro" if logged else "?immutable=1"
        else:
            uri += "?mode=rwc" if create else "?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            if create:
                # Readers go on while a writer commits.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("SELECT value FROM state LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's errors into ones that say what happened to which file."""
        try:
            yield
        except sqlite3.Error as error:
            if "full" in str(error) or "disk I/O" in str(error):
                raise OSError(
                    errno.ENOSPC, f"{error}; images added before are kept", str(self.path)
                ) from error
            raise InvalidIndexError(f"{self.path}: {error}") from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes inside at once, or none of them."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Have all reads inside see one state, whatever another connection commits meanwhile."""
        if self._connection.in_transaction:
            yield
            return
        with self._errors():
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def get(self, name: str) -> Any:
        """Return an entry of the state, None where there is none."""
        found = self._all("SELECT value FROM state WHERE name = ?", (name,))
        return found[0][0] if found else None

    def set(self, name: str, value: Any) -> None:
        """Set an entry of the state; None takes it away."""
        self._connection.execute("DELETE FROM state WHERE name = ?", (name,))
        if value is not None:
            self._connection.execute("INSERT INTO state VALUES (?, ?)", (name, value))

    def version(self) -> int:
        """Return a number that changes when another connection has changed the file."""
        return int(self._all("PRAGMA data_version")[0][0])

    def images(self) -> RowTable:
        """Return all images, by their first row.

        Raises
        ------
        InvalidIndexError : an entry has been changed by something else than this class.
        """
        rows = self._all(
            "SELECT id, first, count, path, bytes, modified, checksum FROM images "
            "ORDER BY first, id"
        )
        for _, first, count, path, size, modified, checksum in rows:
            if checksum != _checksum(path, (size, modified), first, count):
                raise InvalidIndexError(f"{self.path} is damaged: the entry of {path!r} is changed")
        numbers = np.array([row[:3] for row in rows], np.int64).reshape(-1, 3)
        ids, first, count = np.ascontiguousarray(numbers.T)
        return RowTable(ids, first, count, [row[3] for row in rows], int(self.get("rows")))

    def holds(self, path: str) -> bool:
        """Whether there is an image of this path."""
        return bool(self._all("SELECT 1 FROM images WHERE path = ?", (path,)))

    def file_states(self) -> dict[str, FileState]:
        """Return the state that each image's file had when it was added."""
        rows = self._all("SELECT path, bytes, modified FROM images")
        return {path: (size, modified) for path, size, modified in rows}

    def add(self, entry: Entry) -> None:
        """Add an image, in place of an older one of this path; within a transaction."""
        path, record, file = entry
        self.remove(path)
        first, count = int(self.get("rows")), len(record)
        cursor = self._connection.execute(
            "INSERT INTO images (path, bytes, modified, first, count, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (path, *file, first, count, _checksum(path, file, first, count)),
        )
        self.set_record(cursor.lastrowid or 0, record)
        self.set("rows", first + count)

    def set_record(self, image: int, record: ImageRecord) -> None:
        """Store an image's record, in place of an older one; within a transaction."""
        blobs = {"records": record.without_maps().to_bytes()}
        self._connection.execute("DELETE FROM maps WHERE image = ?", (image,))
        if record.maps:
            blobs["maps"] = maps_to_bytes(record.maps)
        for table, data in blobs.items():
            self._connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (image, data))

    def remove(self, path: str) -> bool:
        """Remove an image and say whether it was there; within a transaction."""
        found = self._all("SELECT id FROM images WHERE path = ?", (path,))
        for table, key in (("records", "image"), ("maps", "image"), ("images", "id")):
            self._connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", found)
        return bool(found)

    def renumber(self, table: RowTable, chosen: NDArray[np.bool_]) -> None:
        """Give chosen images the first rows that `table` has; within a transaction."""
        numbers = np.flatnonzero(chosen).tolist()
        files = self.file_states()
        self._connection.executemany(
            "UPDATE images SET first = ?, checksum = ? WHERE id = ?",
            [
                (
                    first := int(table.first[i]),
                    _checksum(table.paths[i], files[table.paths[i]], first, int(table.counts[i])),
                    int(table.ids[i]),
                )
                for i in numbers
            ],
        )
        self.set("rows", table.rows)

    def records(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, ImageRecord]]:
        """Yield (id, record without maps) of images, in no order.

        An image removed meanwhile is left out.

        Raises
        ------
        DamagedRecordError : it is not what was stored.
        """
        for image, data in self._blobs("records", ids):
            yield image, ImageRecord.from_bytes(data, f"{self.path}: the record of image {image}")

    def maps(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, tuple[CellMap, ...]]]:
        """Yield (id, maps) of images that have maps, as `records`."""
        for image, data in self._blobs("maps", ids):
            yield image, maps_from_bytes(data, f"{self.path}: the maps of image {image}")

    def record_bytes(self) -> NDArray[np.int64]:
        """Return how many bytes the record of each image takes, maps included, int64 (M,)."""
        rows = self._all(
            "SELECT length(records.data) + coalesce(length(maps.data), 0) "
            "FROM records LEFT JOIN maps ON maps.image = records.image"
        )
        return np.array([row[0] for row in rows], np.int64)

    def vacuum(self) -> None:
        """Give the space of removed images back."""
        with self._errors():
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._errors():
            return self._connection.execute(query, values).fetchall()

    def _blobs(self, table: str, ids: NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE].tolist()
            marks = ", ".join("?" * len(some))
            yield from self._all(f"SELECT image, data FROM {table} WHERE image IN ({marks})", some)


def _checksum(path: str, file: FileState, first: int, count: int) -> int:
    return zlib.crc32(f"{path}\0{file[0]} {file[1]} {first} {count}".encode())
