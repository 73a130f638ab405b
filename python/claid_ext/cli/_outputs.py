"""What `claid detect` writes: each file whole or not at all, and a ledger of what is done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Job", "Outputs"]

_LEDGER = "claid-detect.jsonl"


@dataclass(frozen=True)
class Job:
    """One image to work on, and the files that are made of it.

    Attributes
    ----------
    image : the image, as given.
    stem : path of its results below the output folder, without a suffix.
    files : the results.
    """

    image: Path
    stem: str
    files: list[Path]


class Outputs:
    """The output folder of one run, and the ledger in it.

    The ledger is a line of JSON for each event: an image `claims` a name, so that no two images
    share one and no file of other origin is overwritten; and an image is `done`, with its size and
    time of change, the settings, and the sizes of its results. A line that was cut short by a crash
    is passed over: its image is done again.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], own: Collection[str]) -> None:
        """Open or create the folder. Raises OSError.

        `settings` is what decides the results; `own` are the suffixes of all kinds of results, and
        the names of files that no image may take.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.settings = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        self._own = own
        self._owners: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._done: dict[tuple[str, str], dict[str, Any]] = {}
        self._path = folder / _LEDGER
        self._read()
        self._ledger = self._path.open("a", encoding="utf-8")
        if self._ledger.tell():
            self._ledger.write("\n")

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def job(self, image: Path, relative: Path, suffixes: list[str]) -> Job:
        """Name an image's results: by its path below the folder that was given.

        Where another image has that name (a.jpg and a.png, or a.jpg of two folders), or a file that
        no ledger line speaks of, the suffix is kept, and a digest of its full path added.
        """
        identity = _identity(image)
        stem = self._names.get(identity)
        if stem is None:
            digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
            plain = relative.with_suffix("").as_posix()
            choices = (plain, relative.as_posix(), f"{relative.as_posix()}-{digest}")
            stem = next((c for c in choices if self._is_free(c)), choices[-1])
            self._claim(stem, identity)
            self._log({"claim": stem, "image": identity})
        return Job(image, stem, [self.folder / f"{stem}{suffix}" for suffix in suffixes])

    def is_done(self, job: Job) -> bool:
        """Whether all files of a job are there, made of this image with these settings."""
        return all(
            (record := self._done.get((job.stem, file.name))) is not None
            and record["settings"] == self.settings
            and record["source"] == _source(job.image)
            and file.is_file()
            and file.stat().st_size == record["bytes"]
            for file in job.files
        )

    def finish(self, job: Job, sizes: list[int]) -> None:
        """Note that a job's files are written, with their sizes in bytes."""
        for file, size in zip(job.files, sizes, strict=True):
            record = {
                "done": job.stem,
                "file": file.name,
                "bytes": size,
                "source": _source(job.image),
                "settings": self.settings,
            }
            self._done[job.stem, file.name] = record
            self._log(record)

    def done_files(self, suffix: str) -> Iterator[Path]:
        """Yield the done files of one kind under these settings, of this run and earlier ones."""
        for (stem, name), record in sorted(self._done.items()):
            path = (self.folder / stem).with_name(name)
            wanted = name.endswith(suffix) and record["settings"] == self.settings
            if wanted and path.is_file():
                yield path

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open(encoding="utf-8", errors="replace") as ledger:
            for line in ledger:
                try:
                    event = json.loads(line)
                    if "claim" in event:
                        self._claim(event["claim"], event["image"])
                    else:
                        self._done[event["done"], event["file"]] = {
                            key: event[key] for key in ("bytes", "source", "settings")
                        }
                except (ValueError, KeyError, TypeError):
                    continue

    def _claim(self, stem: str, identity: str) -> None:
        self._owners[stem.casefold()] = identity
        self._names[identity] = stem

    def _is_free(self, stem: str) -> bool:
        if stem.casefold() in self._owners:
            return False
        names = [f"{stem}{suffix}" for suffix in self._own]
        return not any(name in self._own or (self.folder / name).exists() for name in names)

    def _log(self, event: dict[str, Any]) -> None:
        self._ledger.write(json.dumps(event) + "\n")
        self._ledger.flush()


def _identity(image: Path) -> str:
    """Return the one path that an image has, however it was given."""
    return os.path.abspath(image)  # noqa: PTH100 (Path.resolve would follow a link to its target)


def _source(image: Path) -> list[int]:
    try:
        status = image.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
