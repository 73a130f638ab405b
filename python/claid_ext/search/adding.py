"""Adding images, files or those that have only a name: read ahead, describe, store.

The three run at the same time: while some photos are described, the next ones are read, and those
before them stored. Where the networks make more of the CPUs by several photos at once, each is
described by itself, else `batch_size` together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

from claid_ext.describing import Describer
from claid_ext.errors import ClaidError
from claid_ext.images import Photo, read_photo
from claid_ext.in_order import in_order
from claid_ext.index.paths import file_state, image_name
from claid_ext.index.store import Entry, FileState
from claid_ext.progress import progress as show_progress
from claid_ext.stage_times import stage

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
    """Yield the entries of images, batch by batch and in their order, ready to be stored.

    Parameters
    ----------
    describer : makes the records.
    read : from `read_files` or `read_named`.
    report : collects counts and failures; a batch counts as added once the next one is requested.
    batch_size : images described together.
    """
    workers = getattr(describer, "workers", 1)
    groups = _groups(read, batch_size if workers == 1 else 1)
    entries: list[Entry] = []
    for described in in_order(groups, partial(_describe, describer), workers=workers):
        for one in described:
            if isinstance(one, Entry):
                entries.append(one)
            else:
                report.failed.append(one)
        if entries and (workers == 1 or len(entries) >= batch_size):
            yield entries
            report.added += len(entries)
            entries = []
    if entries:
        yield entries
        report.added += len(entries)


def _groups(read: Iterable[ReadImage], size: int) -> Iterator[list[ReadImage]]:
    """Yield images so many at a time, and with them what could not be read."""
    group: list[ReadImage] = []
    good = 0
    for path, one in read:
        group.append((path, one))
        good += isinstance(one, _Read)
        if good == size:
            yield group
            group, good = [], 0
    if group:
        yield group


def _describe(describer: Describer, group: list[ReadImage]) -> list[Entry | tuple[str, str]]:
    """Describe photos together; if that fails, one by one, to find out which is at fault.

    What could not be read, or described, comes out as path and reason.
    """
    photos = [one for _, one in group if isinstance(one, _Read)]
    try:
        records = iter(describer([one.photo for one in photos]) if photos else [])
    except (ClaidError, ValueError) as error:
        if len(group) > 1:
            return [made for one in group for made in _describe(describer, [one])]
        return [(photos[0].path, str(error))]
    return [
        (path, one) if isinstance(one, str) else Entry(one.path, next(records), one.file)
        for path, one in group
    ]


def _read_ahead(
    items: Iterable[T], read: Callable[[T], _Read], name: Callable[[T], str], workers: int
) -> Iterator[ReadImage]:
    """Yield each image's path with the image, or with why it cannot be read."""

    def result(named: tuple[str, T]) -> ReadImage:
        path, item = named
        try:
            with stage("read"):
                return path, read(item)
        except (ClaidError, OSError, ValueError) as error:
            return _printable(path), str(error)

    return in_order(((name(one), one) for one in items), result, workers=workers, ahead=workers)


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


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()
