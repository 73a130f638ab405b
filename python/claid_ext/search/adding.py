"""Adding image files: read ahead, describe, store."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from claid_ext.describing import Describer
from claid_ext.errors import ClaidError
from claid_ext.images import Photo, read_photo
from claid_ext.index.paths import file_state
from claid_ext.index.store import Entry, FileState
from claid_ext.progress import progress as show_progress

__all__ = ["AddReport", "describe_files", "new_files"]


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


def new_files(paths: Sequence[str], known: dict[str, FileState], report: AddReport) -> list[str]:
    """Return the files among absolute paths that are not stored, or have changed since.

    `known` are the states of the stored ones; `report` counts unchanged files.
    """
    new = []
    for path in dict.fromkeys(paths):
        if not _is_text(path):
            report.failed.append((_printable(path), "its name is not valid text (Unicode)"))
        elif path in known and known[path] == file_state(path):
            report.present += 1
        else:
            new.append(path)
    return new


def describe_files(
    describer: Describer,
    paths: Sequence[str],
    report: AddReport,
    *,
    workers: int,
    batch_size: int,
    progress: bool,
) -> Iterator[list[Entry]]:
    """Yield the entries of image files, batch by batch, ready to be stored.

    Parameters
    ----------
    describer : makes the records.
    paths : absolute paths.
    report : collects counts and failures; a batch counts as added once the next one is requested.
    workers : threads that read images ahead.
    batch_size : images described together.
    progress : whether to show a bar on stderr, where that is a terminal.
    """
    batch: list[_Read] = []
    read = show_progress(
        _read_ahead(paths, workers), len(paths), "indexing", disable=None if progress else True
    )
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


def _read_ahead(paths: Sequence[str], workers: int) -> Iterator[tuple[str, _Read | str]]:
    """Yield each path with its photo, or with why it cannot be read; `workers` threads read."""
    waiting: deque[tuple[str, Future[_Read]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="claid-read") as readers:
        for path in paths:
            waiting.append((path, readers.submit(_read, path)))
            if len(waiting) > 2 * workers:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _read(path: str) -> _Read:
    # The state first: a file that changes meanwhile is then read again the next time.
    return _Read(path, file_state(path), read_photo(path))


def _result(path: str, future: Future[_Read]) -> tuple[str, _Read | str]:
    try:
        return path, future.result()
    except (ClaidError, OSError) as error:
        return path, str(error)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()
