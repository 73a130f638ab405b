"""Files of a data set on any filesystem that pyarrow knows, each written whole or not at all."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from claid_ext.files import write_whole
from claid_ext.index.lock import writer_lock
from claid_ext.index.paths import absolute

__all__ = ["Files", "filesystem", "import_pyarrow", "is_uri", "uri_below"]

_ONE_PUT = {"s3", "gcs", "abfs"}  # object stores: a file is there once it is whole
_PART = re.compile(r"part-(\d+)\.")
_LEFTOVER = re.compile(r"\..*\.part")  # of `write_whole`, after a kill


def import_pyarrow() -> Any:
    """Import pyarrow with its filesystems and Parquet.

    Raises
    ------
    ImportError : it is not installed; names the extras that have it.
    """
    try:
        import pyarrow
        import pyarrow.fs
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "data sets need pyarrow: pip install 'claid_ext[ray]' or 'claid_ext[milvus]'"
        ) from error
    return pyarrow


def is_uri(address: str) -> bool:
    """Whether an address is a URI, rather than the path of a file or folder here."""
    return "://" in address


def filesystem(address: str) -> tuple[Any, str]:
    """Return pyarrow's filesystem of an address, and the path there.

    Parameters
    ----------
    address : a path, or a URI such as s3://bucket/folder or gs://bucket/folder.

    Raises
    ------
    ValueError : a URI of a kind that pyarrow does not know.
    """
    fs = import_pyarrow().fs
    if not is_uri(address):
        return fs.LocalFileSystem(), absolute(address)
    parts = urlsplit(address)
    root = urlunsplit((parts.scheme, parts.netloc, "", parts.query, ""))
    try:
        # One client per bucket: making it takes longer than most requests.
        return _of_bucket(root) if not parts.path else (_of_bucket(root)[0], _path(address))
    except Exception as error:
        shown = urlunsplit((parts.scheme, parts.hostname or "", parts.path, "", ""))  # no password
        raise ValueError(f"{shown} cannot be opened: {error}") from None


@functools.cache
def _of_bucket(root: str) -> tuple[Any, str]:
    parts = urlsplit(root)
    whole = root if parts.netloc else urlunsplit((parts.scheme, "", "/", parts.query, ""))
    found: tuple[Any, str] = import_pyarrow().fs.FileSystem.from_uri(whole)
    return found


def _path(address: str) -> str:
    parts = urlsplit(address)
    bucket = parts.netloc.rpartition("@")[2]
    return f"{bucket}{parts.path}".rstrip("/") or "/"


def uri_below(address: str, path: str) -> str:
    """Return the URI of a path of the filesystem that another URI is on."""
    parts = urlsplit(address)
    bucket = parts.netloc.rpartition("@")[2]
    inner = "/" + path.removeprefix(bucket).lstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, inner, parts.query, ""))


class Files:
    """The files below an address, by their names relative to it.

    Attributes
    ----------
    address : a path, made absolute, or a URI.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        """Reach the place; nothing need be there."""
        given = os.fspath(address)
        self.address = given if is_uri(given) else absolute(given)
        self._fs, self._root = filesystem(self.address)
        self._kind: str = self._fs.type_name

    @property
    def local(self) -> Path | None:
        """The folder, if it is one of this machine."""
        return Path(self._root) if self._kind == "local" else None

    def shown(self, name: str = "") -> str:
        """Return what to call a file in a message, without passwords."""
        path = f"{self._root}/{name}" if name else self._root
        return path if self._kind == "local" else f"{self._kind}://{path.lstrip('/')}"

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""
        with self._fs.open_input_stream(self._at(name)) as file:
            content: bytes = file.read()
            return content

    def read_ranges(self, name: str, ranges: list[tuple[int, int]]) -> list[bytes]:
        """Return parts of a file, each (offset, length); shorter ones at its end."""
        with self._fs.open_input_file(self._at(name)) as file:
            return [file.read_at(length, offset) for offset, length in ranges]

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        info = self._fs.get_file_info(self._at(name))
        return bool(info.type == import_pyarrow().fs.FileType.File)

    def numbers(self, folder: str) -> list[int]:
        """Return the numbers of the parts in a folder, part-N, ascending."""
        selector = import_pyarrow().fs.FileSelector(self._at(folder), allow_not_found=True)
        found = (_PART.match(info.base_name) for info in self._fs.get_file_info(selector))
        return sorted(int(part[1]) for part in found if part)

    def is_empty(self, but: str) -> bool:
        """Whether nothing is there but files of one name, and what killed writers left."""
        selector = import_pyarrow().fs.FileSelector(self._root, allow_not_found=True)
        names = (info.base_name for info in self._fs.get_file_info(selector))
        return all(name == but or _LEFTOVER.match(name) for name in names)

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole, in place of an older one, so that it survives a power failure.

        Raises
        ------
        OSError : the disk is full, or the place not writable; it names the file.
        """
        path = self._at(name)
        if self._kind == "local":
            write_whole(Path(path), lambda part: part.write_bytes(content), durable=True)
            return
        target = path if self._kind in _ONE_PUT else f"{path}.{os.getpid()}.part"
        if target != path:
            self._fs.create_dir(path.rpartition("/")[0], recursive=True)
        with self._fs.open_output_stream(target) as stream:
            stream.write(content)
        if target != path:
            self._fs.move(target, path)

    def delete(self, name: str) -> None:
        """Delete a file that is there."""
        self._fs.delete_file(self._at(name))

    @contextmanager
    def writing(self, folder: str) -> Iterator[None]:
        """Hold a folder's writer lock, where that is on this machine; elsewhere there is none.

        What a killed writer left half-written there is removed.

        Raises
        ------
        IndexLockedError : another process holds it.
        """
        if self.local is None:
            yield
            return
        place = self.local / folder
        place.mkdir(parents=True, exist_ok=True)
        with writer_lock(place):
            for left in place.iterdir():
                if _LEFTOVER.match(left.name):
                    left.unlink(missing_ok=True)
            yield

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"
