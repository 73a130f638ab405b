"""The table of images and their records: one SQLite file, each image in one transaction.

SQLite and not Parquet: it comes with Python, and a transaction is all that "an image wholly or not
at all" needs. Everything that is derived from it, such as the faiss index beside it, can always be
made again.

SQLite itself notices few changes of its file. So each row has a checksum, an image's those of its
record and maps too, and the state the sums of these checksums: a row that is changed, missing or
found in another's place is an error.
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

from claid_ext.blocks import DIGEST_BYTES
from claid_ext.errors import DamagedRecordError, InvalidIndexError
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
    size INTEGER NOT NULL, modified INTEGER NOT NULL,  -- of the file: bytes, time of change in ns
    first INTEGER NOT NULL, regions INTEGER NOT NULL,  -- its rows in the order of all vectors
    record BLOB NOT NULL, maps BLOB,  -- the digests that end its record and its maps, if any
    checksum INTEGER NOT NULL  -- of all columns before
);
CREATE TABLE records (image INTEGER PRIMARY KEY, data BLOB NOT NULL);  -- without maps
CREATE TABLE maps (image INTEGER PRIMARY KEY, data BLOB NOT NULL);  -- read by the second stage only
CREATE TABLE state (name TEXT PRIMARY KEY, checksum INTEGER NOT NULL, value);
"""

# Entries of the state: rows given out so far, those of removed images included; the sums of the
# checksums of all images, and of all other entries.
ROWS, IMAGES_SUM, SEAL = "rows", "images", "seal"


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


class _Image(NamedTuple):
    """A row of the table of images."""

    id: int
    path: str
    size: int
    modified: int
    first: int
    regions: int
    record: bytes
    maps: bytes | None
    checksum: int


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
        if create:
            with self.transaction():
                self.set(ROWS, 0)
                self.set(IMAGES_SUM, 0)

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
        except (sqlite3.Error, UnicodeDecodeError) as error:  # its messages quote what it read
            code = getattr(error, "sqlite_errorcode", None)
            short = code == sqlite3.SQLITE_IOERR_SHORT_READ
            if "full" in str(error) or ("disk I/O" in str(error) and not short):
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
        """Return an entry of the state, None where there is none.

        Raises
        ------
        InvalidIndexError : the state has been changed by something else than this class.
        """
        rows = self._all(
            "SELECT name, checksum, CASE WHEN name IN (?, ?) THEN value END FROM state",
            (name, SEAL),
        )
        values = {its: value for its, _, value in rows}
        sums = {its: checksum for its, checksum, _ in rows if its != SEAL}
        value = values.get(name)
        if values.get(SEAL) != sum(sums.values()) or (
            name in sums and sums[name] != _checksum(name, value)
        ):
            raise InvalidIndexError(f"{self.path} is damaged: its state is changed")
        return value

    def set(self, name: str, value: Any) -> None:
        """Set an entry of the state; None takes it away; within a transaction."""
        execute = self._connection.execute
        execute("DELETE FROM state WHERE name IN (?, ?)", (name, SEAL))
        if value is not None:
            execute("INSERT INTO state VALUES (?, ?, ?)", (name, _checksum(name, value), value))
        execute("INSERT INTO state SELECT ?, 0, ifnull(sum(checksum), 0) FROM state", (SEAL,))

    def version(self) -> int:
        """Return a number that changes when another connection has changed the file."""
        return int(self._all("PRAGMA data_version")[0][0])

    def images(self) -> RowTable:
        """Return all images, by their first row.

        Raises
        ------
        InvalidIndexError : an entry has been changed by something else than this class.
        """
        rows = sorted(self._entries(), key=lambda entry: (entry.first, entry.id))
        numbers = np.array([(one.id, one.first, one.regions) for one in rows], np.int64)
        ids, first, count = np.ascontiguousarray(numbers.reshape(-1, 3).T)
        return RowTable(ids, first, count, [one.path for one in rows], int(self.get(ROWS)))

    def _entries(self) -> list[_Image]:
        """Return all images as they were stored, in no order."""
        entries = []
        for row in self._all(f"SELECT {', '.join(_Image._fields)} FROM images"):
            entry = _Image(*row)
            if entry.checksum != _checksum(*entry[:-1]):
                raise InvalidIndexError(
                    f"{self.path} is damaged: the entry of {entry.path!r} is changed"
                )
            entries.append(entry)
        if sum(entry.checksum for entry in entries) != self.get(IMAGES_SUM):
            raise InvalidIndexError(f"{self.path} is damaged: images are missing")
        return entries

    def holds(self, path: str) -> bool:
        """Whether there is an image of this path."""
        return bool(self._all("SELECT 1 FROM images WHERE path = ?", (path,)))

    def file_states(self) -> dict[str, FileState]:
        """Return the state that each image's file had when it was added."""
        return {one.path: (one.size, one.modified) for one in self._entries()}

    def add(self, entry: Entry) -> None:
        """Add an image, in place of an older one of this path; within a transaction."""
        path, record, file = entry
        self.remove(path)
        first, count = int(self.get(ROWS)), len(record)
        # A row that holds the new number, which is never given out again.
        cursor = self._connection.execute(
            "INSERT INTO images (path, size, modified, first, regions, record, checksum) "
            "VALUES (?, 0, 0, 0, 0, x'', 0)",
            (path,),
        )
        blank = _Image(cursor.lastrowid or 0, path, file[0], file[1], first, count, b"", None, 0)
        self._put(blank, self._put_blobs(blank, record))
        self.set(ROWS, first + count)

    def set_record(self, image: int, record: ImageRecord) -> None:
        """Store an image's record, in place of an older one; within a transaction.

        Raises
        ------
        ValueError : there is no such image, or it has another number of regions.
        """
        columns = ", ".join(_Image._fields)
        found = self._all(f"SELECT {columns} FROM images WHERE id = ?", (image,))
        if not found:
            raise ValueError(f"{self.path}: there is no image {image}")
        old = _Image(*found[0])
        if len(record) != old.regions:
            raise ValueError(
                f"{self.path}: {old.path} has {old.regions} regions, got a record of {len(record)}"
            )
        self._put(old, self._put_blobs(old, record))

    def _put_blobs(self, image: _Image, record: ImageRecord) -> _Image:
        """Store a record and its maps; return the image with their digests."""
        self._connection.execute("DELETE FROM maps WHERE image = ?", (image.id,))
        blobs = {"records": record.without_maps().to_bytes()}
        if record.maps:
            blobs["maps"] = maps_to_bytes(record.maps)
        for table, data in blobs.items():
            self._connection.execute(
                f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (image.id, data)
            )
        digests = {table: data[-DIGEST_BYTES:] for table, data in blobs.items()}
        return image._replace(record=digests["records"], maps=digests.get("maps"))

    def _put(self, old: _Image, new: _Image) -> None:
        """Change an image's row, the checksums with it."""
        new = new._replace(checksum=_checksum(*new[:-1]))
        self._connection.execute(
            "UPDATE images SET size = ?, modified = ?, first = ?, regions = ?, record = ?, "
            "maps = ?, checksum = ? WHERE id = ?",
            (*new[2:], new.id),
        )
        self._add_to_sum(new.checksum - old.checksum)

    def _add_to_sum(self, difference: int) -> None:
        self.set(IMAGES_SUM, self.get(IMAGES_SUM) + difference)

    def remove(self, path: str) -> bool:
        """Remove an image and say whether it was there; within a transaction."""
        found = self._all("SELECT id, checksum FROM images WHERE path = ?", (path,))
        for image, checksum in found:
            for table, key in (("records", "image"), ("maps", "image"), ("images", "id")):
                self._connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (image,))
            self._add_to_sum(-checksum)
        return bool(found)

    def renumber(self, table: RowTable, chosen: NDArray[np.bool_]) -> None:
        """Give chosen images the first rows that `table` has; within a transaction."""
        firsts = dict(zip(table.ids[chosen].tolist(), table.first[chosen].tolist(), strict=True))
        changed = [
            one._replace(first=firsts[one.id]) for one in self._entries() if one.id in firsts
        ]
        ready = [one._replace(checksum=_checksum(*one[:-1])) for one in changed]
        self._connection.executemany(
            "UPDATE images SET first = ?, checksum = ? WHERE id = ?",
            [(one.first, one.checksum, one.id) for one in ready],
        )
        self._add_to_sum(sum(one.checksum for one in ready) - sum(one.checksum for one in changed))
        self.set(ROWS, table.rows)

    def records(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, ImageRecord]]:
        """Yield (id, record without maps) of images that are there, in no order.

        Raises
        ------
        DamagedRecordError : it is not what was stored, or not there.
        """
        for image, digest, data in self._blobs("record", "records", ids):
            what = f"{self.path}: the record of image {image}"
            yield image, ImageRecord.from_bytes(_whole(what, digest, data), what)

    def maps(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, tuple[CellMap, ...]]]:
        """Yield (id, maps) of images that have maps, as `records`."""
        for image, digest, data in self._blobs("maps", "maps", ids):
            if digest is not None:
                what = f"{self.path}: the maps of image {image}"
                yield image, maps_from_bytes(_whole(what, digest, data), what)

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

    def _blobs(self, column: str, table: str, ids: NDArray[np.int64]) -> Iterator[Any]:
        """Yield (id, digest, bytes) of images; digest and bytes are None where there are none."""
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE].tolist()
            marks = ", ".join("?" * len(some))
            found = self._all(
                f"SELECT images.id, images.{column}, blobs.data FROM images "
                f"LEFT JOIN {table} AS blobs ON blobs.image = images.id "
                f"WHERE images.id IN ({marks})",
                some,
            )
            if missing := {*some} - {image for image, _, _ in found}:
                raise DamagedRecordError(f"{self.path} is damaged: no image {min(missing)}")
            yield from found


def _whole(what: str, digest: bytes, data: bytes | None) -> bytes:
    """Return a record's bytes, which must be those that were stored for this image."""
    if data is None or data[-DIGEST_BYTES:] != digest:
        raise DamagedRecordError(f"{what} is damaged: {'missing' if data is None else 'another'}")
    return data


def _checksum(*values: Any) -> int:
    """CRC-32 of values, which tells 1 from "1"."""
    parts = (f"b{zlib.crc32(v)}" if isinstance(v, bytes) else ascii(v) for v in values)
    return zlib.crc32("\0".join(parts).encode())
