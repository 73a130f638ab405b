"""The table of images, regions and vectors: one SQLite file, each image in one transaction.

SQLite and not Parquet: it comes with Python, and a transaction is all that "an image wholly or not
at all" needs. Vectors lie in the same file as what they describe, so the two cannot disagree; the
faiss index beside it is made from this table and can always be made again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claid_ext.errors import InvalidIndexError
from claid_ext.regions import Regions

__all__ = ["ImageTable", "Store", "Stored"]

FILE = "regions.sqlite"
BUSY_SECONDS = 30.0  # a commit waits so long for another connection's
IDS_AT_ONCE = 500  # SQLite's older limit of parameters is 999

_SCHEMA = """
CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, so that a reader cannot mix two up
    path TEXT NOT NULL UNIQUE,
    height INTEGER NOT NULL, width INTEGER NOT NULL,  -- pixels, upright
    bytes INTEGER, modified INTEGER,  -- of the file: its length, its time of change in ns
    first INTEGER NOT NULL, count INTEGER NOT NULL  -- its rows in the order of all vectors
);
CREATE TABLE regions (
    image INTEGER NOT NULL, number INTEGER NOT NULL,
    x0 REAL, y0 REAL, x1 REAL, y1 REAL,  -- pixels
    size REAL, level INTEGER, connectivity REAL, dominance REAL,
    PRIMARY KEY (image, number)
) WITHOUT ROWID;
CREATE TABLE vectors (image INTEGER PRIMARY KEY, data BLOB NOT NULL);  -- float32, a region a row
CREATE TABLE state (name TEXT PRIMARY KEY, value);
INSERT INTO state VALUES ('rows', 0);  -- rows given out so far, those of removed images included
"""


class ImageTable(NamedTuple):
    """The images of an index, by their first row. M is their number.

    `ids`, `first`, `counts` are int64 (M,), `paths` (M,) strings; the rows of image i are
    first[i] .. first[i] + counts[i] - 1, and `rows` are given out in all.
    """

    ids: NDArray[np.int64]
    first: NDArray[np.int64]
    counts: NDArray[np.int64]
    paths: list[str]
    rows: int


class Stored(NamedTuple):
    """One region as it is stored: box in pixels, size in square pixels, level in the tree."""

    box: tuple[float, float, float, float]
    size: float
    level: int


class Store:
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

    def images(self) -> ImageTable:
        """Return all images, by their first row."""
        rows = self._all("SELECT id, first, count, path FROM images ORDER BY first, id")
        numbers = np.array([row[:3] for row in rows], np.int64).reshape(-1, 3)
        ids, first, count = np.ascontiguousarray(numbers.T)
        return ImageTable(ids, first, count, [row[3] for row in rows], int(self.get("rows")))

    def holds(self, path: str) -> bool:
        """Whether there is an image of this path."""
        return bool(self._all("SELECT 1 FROM images WHERE path = ?", (path,)))

    def file_states(self) -> dict[str, tuple[int, int]]:
        """Return the (bytes, modified) that each image's file had when it was added."""
        rows = self._all("SELECT path, bytes, modified FROM images")
        return {path: (size, modified) for path, size, modified in rows}

    def add(
        self, path: str, regions: Regions, vectors: NDArray[np.float32], file: tuple[int, int]
    ) -> None:
        """Add an image, in place of an older one of this path; within a transaction."""
        self.remove(path)
        first = int(self.get("rows"))
        height, width = regions.image_size
        cursor = self._connection.execute(
            "INSERT INTO images (path, height, width, bytes, modified, first, count) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (path, height, width, *file, first, len(regions)),
        )
        columns = zip(
            regions.boxes.tolist(),
            regions.size.tolist(),
            regions.level.tolist(),
            regions.connectivity.tolist(),
            regions.dominance.tolist(),
            strict=True,
        )
        self._connection.executemany(
            "INSERT INTO regions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(cursor.lastrowid, i, *box, *rest) for i, (box, *rest) in enumerate(columns)],
        )
        self.set_vectors(cursor.lastrowid or 0, vectors)
        self.set("rows", first + len(regions))

    def set_vectors(self, image: int, vectors: NDArray[np.float32]) -> None:
        """Store an image's vectors, in place of older ones; within a transaction."""
        data = np.ascontiguousarray(vectors, "<f4").tobytes()
        self._connection.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?)", (image, data))

    def remove(self, path: str) -> bool:
        """Remove an image and say whether it was there; within a transaction."""
        found = self._all("SELECT id FROM images WHERE path = ?", (path,))
        for table, key in (("regions", "image"), ("vectors", "image"), ("images", "id")):
            self._connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", found)
        return bool(found)

    def renumber(self, ids: Sequence[int], first: Sequence[int], rows: int) -> None:
        """Give images other first rows, and set how many are given out; within a transaction."""
        self._connection.executemany(
            "UPDATE images SET first = ? WHERE id = ?", zip(first, ids, strict=True)
        )
        self.set("rows", rows)

    def vectors(
        self, ids: NDArray[np.int64], dim: int
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (image id, its float32 (R, dim) vectors) for images, in no order.

        An image removed meanwhile is left out.
        """
        for rows in self._chunks("SELECT image, data FROM vectors WHERE image IN", ids):
            for image, data in rows:
                yield image, np.frombuffer(data, "<f4").reshape(-1, dim)

    def regions(self, ids: NDArray[np.int64]) -> dict[int, list[Stored]]:
        """Return the regions of images, by image id."""
        found: dict[int, list[Stored]] = {}
        query = "SELECT image, x0, y0, x1, y1, size, level FROM regions WHERE image IN"
        for rows in self._chunks(query, ids, " ORDER BY image, number"):
            for image, x0, y0, x1, y1, size, level in rows:
                found.setdefault(image, []).append(Stored((x0, y0, x1, y1), size, level))
        return found

    def sizes(self, table: ImageTable) -> NDArray[np.float32]:
        """Return every row's region size in square pixels, float32 (rows,); 0 for removed ones."""
        sizes = np.zeros(table.rows, np.float32)
        order = dict(zip(table.ids.tolist(), table.first.tolist(), strict=True))
        for image, number, size in self._all("SELECT image, number, size FROM regions"):
            if image in order:
                sizes[order[image] + number] = size
        return sizes

    def vacuum(self) -> None:
        """Give the space of removed images back."""
        with self._errors():
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._errors():
            return self._connection.execute(query, values).fetchall()

    def _chunks(self, query: str, ids: NDArray[np.int64], end: str = "") -> Iterator[list[Any]]:
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE].tolist()
            yield self._all(f"{query} ({', '.join('?' * len(some))}){end}", some)
