"""Adding images, files or those that have only a name: read ahead, describe, store."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from claid_ext.describing import Describer
from claid_ext.errors import ClaidError
from claid_ext.images import Photo, read_photo
from claid_ext.index.paths import file_state, image_name
from claid_ext.index.store import Entry, FileState
from claid_ext.progress import progress as show_progress

__all__ = [
    "AddReport",
    "ReadImage",
    "describe_images",
    "new_files",
    "read_files",
    "read_named",
]

T = TypeVar("T")

_NO_TEXT = "its name is not valid text (Unicode)"


@dataclass
class AddReport:
    """What became of images given to `InstanceIndex.add`.

    Attributes
    ----------
    added : how many.
    present : how many were in the index already, unchanged.
    failed : the path of each image that could not be used, and the reason.
    no_own_basis : why an index that has photos enough for a basis of its own goes on with the one
        shipped for its network, as one of its older photos is gone or has changed; else "".
    """

    added: int = 0
    present: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    no_own_basis: str = ""


class _Read(NamedTuple):
    """A decoded photo, and the state of its file before it was read."""

    path: str
    file: FileState
    photo: Photo


ReadImage = tuple[str, _Read | str]
"""An image's path with the image, or with why it cannot be read."""


def new_files(paths: Sequence[str], known: dict[str, FileState], report: AddReport) -> list[str]:
    """Return the files among absolute paths that are not stored, or have changed since.

    `known` are the states of the stored ones; `report` counts unchanged files.
    """
    new = []
    for path in dict.fromkeys(paths):
        if not _is_text(path):
            report.failed.append((_printable(path), _NO_TEXT))
        elif path in known and known[path] == file_state(path):
            report.present += 1
        else:
            new.append(path)
    return new


def read_files(paths: Sequence[str], workers: int, *, progress: bool) -> Iterator[ReadImage]:
    """Yield image files by their absolute paths; `workers` threads read ahead.

    `progress` : whether to show a bar on stderr, where that is a terminal.
    """
    read = _read_ahead(paths, _read_file, str, workers)
    return show_progress(read, len(paths), "indexing", disable=None if progress else True)


def read_named(
    images: Iterable[tuple[str, Any]],
    known: dict[str, FileState],
    report: AddReport,
    workers: int,
    *,
    progress: bool,
) -> Iterator[ReadImage]:
    """Yield images of memory by their names, but those that are stored and have the same pixels."""
    read = _read_ahead(images, _read_named, _name_of, workers)
    for path, one in show_progress(read, None, "indexing", disable=None if progress else True):
        if isinstance(one, _Read) and known.get(path) == one.file:
            report.present += 1
        else:
            yield path, one


def describe_images(
    describer: Describer, read: Iterable[ReadImage], report: AddReport, *, batch_size: int
) -> Iterator[list[Entry]]:
    """Yield the entries of images, batch by batch, ready to be stored.

    Parameters
    ----------
    describer : makes the records.
    read : from `read_files` or `read_named`.
    report : collects counts and failures; a batch counts as added once the next one is requested.
    batch_size : images described together.
    """
    batch: list[_Read] = []
    for path, one in read:
        if isinstance(one, str):
            report.failed.append((path, one))
            continue
        batch.append(one)
        if len(batch) == batch_size:
            yield from _describe(describer, batch, report)
            batch = []
    if batch:
        yield from _describe(describer, batch, report)


def _describe(describer: Describer, batch: list[_Read], report: AddReport) -> Iterator[list[Entry]]:
    """Describe photos together; if that fails, one by one, to find out which is at fault."""
    try:
        records = describer([one.photo for one in batch])
    except (ClaidError, ValueError) as error:
        if len(batch) > 1:
            for one in batch:
                yield from _describe(describer, [one], report)
        else:
            report.failed.append((batch[0].path, str(error)))
        return
    yield [Entry(one.path, record, one.file) for one, record in zip(batch, records, strict=True)]
    report.added += len(batch)


def _read_ahead(
    items: Iterable[T], read: Callable[[T], _Read], name: Callable[[T], str], workers: int
) -> Iterator[ReadImage]:
    """Yield each image's path with the image, or with why it cannot be read."""
    waiting: deque[tuple[str, Future[_Read]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="claid-read") as readers:
        for item in items:
            waiting.append((name(item), readers.submit(read, item)))
            if len(waiting) > 2 * workers:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _read_file(path: str) -> _Read:
    # The state first: a file that changes meanwhile is then read again the next time.
    return _Read(path, file_state(path), read_photo(path))


def _read_named(pair: tuple[str, Any]) -> _Read:
    path = _name_of(pair)
    photo = read_photo((path, pair[1]))
    if not _is_text(path):
        raise ValueError(_NO_TEXT)
    return _Read(path, _pixel_state(photo), photo)


def _name_of(pair: Any) -> str:
    if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and pair[0]):
        raise TypeError(f"images to add must all be paths, or all (name, image), got {pair!r:.80}")
    return image_name(pair[0])


def _pixel_state(photo: Photo) -> FileState:
    """Return the bytes of a picture and a digest of them, to notice changes as of a file."""
    pixels = photo.picture.tobytes()
    size = repr(photo.size).encode()
    digest = hashlib.blake2b(pixels, digest_size=8, key=size).digest()
    return len(pixels), int.from_bytes(digest) >> 1  # SQLite's integers have a sign


def _result(path: str, future: Future[_Read]) -> ReadImage:
    try:
        return path, future.result()
    except (ClaidError, OSError, ValueError) as error:
        return _printable(path), str(error)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()
