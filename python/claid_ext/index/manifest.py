"""The manifest: every option an index was made with, and a checksum of the weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext._version import __version__
from claid_ext.errors import IndexMismatchError, InvalidIndexError
from claid_ext.index.lock import FILE as LOCK_FILE
from claid_ext.index.store import FILE as STORE_FILE
from claid_ext.index.vectors import check_factory

if TYPE_CHECKING:
    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.regions import RegionSource

__all__ = ["check_same", "clear_leftovers", "options", "read_manifest", "write_manifest"]

FILE = "manifest.json"
_LEFTOVERS = [f"{FILE}.part", *(STORE_FILE + end for end in ("", "-wal", "-shm", "-journal"))]
_FORMAT = "claid_ext.InstanceIndex"
_VERSION = 2


def options(
    source: RegionSource,
    descriptor: RegionDescriptor,
    factory: str,
    pca: int | None,
    probes: int,
) -> dict[str, Any]:
    """Check the options of an index and return them as the manifest holds them.

    Raises
    ------
    ValueError : pca, probes or factory.
    """
    described = descriptor.manifest()
    dim = described["dim"]
    if pca is not None and not 1 <= pca <= dim:
        raise ValueError(f"pca must be from 1 to the descriptor's {dim}, got {pca}")
    if probes < 1:
        raise ValueError(f"probes must be at least 1, got {probes}")
    check_factory(factory, pca or dim)
    return {
        **source.manifest(),
        "descriptor": described,
        "recipes": {"descriptor": descriptor.recipe(), "detector": source.recipe()},
        "factory": factory,
        "pca": pca,
        "probes": probes,
    }


def clear_leftovers(folder: Path) -> None:
    """Remove what a process left that was killed before it wrote the manifest: no index yet.

    Raises
    ------
    FileExistsError : the folder holds something else.
    """
    ours = {LOCK_FILE, *_LEFTOVERS}
    if other := sorted(entry.name for entry in folder.iterdir() if entry.name not in ours):
        raise FileExistsError(f"{folder} is not empty: it holds {other[0]}")
    for name in _LEFTOVERS:
        (folder / name).unlink(missing_ok=True)


def write_manifest(folder: Path, options: dict[str, Any]) -> None:
    """Write the manifest whole or not at all: it is what makes a folder an index."""
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "claid_ext": __version__,
        **options,
    }
    temporary = folder / f"{FILE}.part"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / FILE)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest.

    Raises
    ------
    InvalidIndexError : the folder has none, it is damaged, or of another version.
    """
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidIndexError(f"{folder} is no instance index: it has no {FILE}") from None
    except ValueError as error:
        raise InvalidIndexError(f"{folder / FILE} is damaged: {error}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InvalidIndexError(f"{folder / FILE} is not the manifest of an instance index")
    if content.get("version") != _VERSION:
        raise InvalidIndexError(
            f"{folder} has version {content.get('version')}; this release reads {_VERSION}"
        )
    return content


def check_same(folder: Path, stored: Any, given: Any, what: str) -> None:
    """Compare options as the manifest has them with those of what is given now.

    Raises
    ------
    IndexMismatchError : naming what differs, and both values.
    """
    differences = list(_differences(stored, json.loads(json.dumps(given)), what))
    if differences:
        raise IndexMismatchError(
            f"{folder} was made with other options: {'; '.join(differences)}. Open it with its own "
            "(give none), or make a new index"
        )


def _differences(stored: Any, given: Any, what: str) -> list[str]:
    if isinstance(stored, dict) and isinstance(given, dict):
        return [
            difference
            for key in sorted({*stored, *given})
            for difference in _differences(stored.get(key), given.get(key), f"{what} {key}")
        ]
    return [] if stored == given else [f"{what} is {stored!r} there and {given!r} here"]
