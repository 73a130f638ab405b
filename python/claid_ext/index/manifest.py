"""The manifest: every option an index was made with, and a digest of its networks' weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from claid_ext._version import __version__
from claid_ext.errors import IndexMismatchError, InvalidIndexError
from claid_ext.files import write_whole
from claid_ext.index.lock import FILE as LOCK_FILE
from claid_ext.index.sqlite import FILE as STORE_FILE

__all__ = ["check_same", "clear_leftovers", "has_manifest", "read_manifest", "write_manifest"]

FILE = "manifest.json"
_LEFTOVERS = [STORE_FILE + end for end in ("", "-wal", "-shm", "-journal")]
_FORMAT = "claid_ext.InstanceIndex"
_VERSION = 3
_OLD_VERSIONS = (1, 2)

# What runs networks, and what it was where a manifest does not say so: the first releases had none.
_RUNTIMES = {"runtime": "torch", "precision": "float32", "calibration": None}
_OR_ALLOW = (
    ", or open it all the same: --allow-runtime (allow_runtime=True); what is described now is "
    "then a little unlike what is stored"
)


def has_manifest(folder: Path) -> bool:
    """Whether a folder is an index, of any version."""
    return (folder / FILE).is_file()


def clear_leftovers(folder: Path) -> None:
    """Remove what was left by a process that was killed before it wrote the manifest.

    Raises
    ------
    FileExistsError : the folder contains something else.
    """
    parts = [entry.name for entry in folder.glob(f".{FILE}.*.part")]
    ours = {LOCK_FILE, *_LEFTOVERS, *parts}
    if other := sorted(entry.name for entry in folder.iterdir() if entry.name not in ours):
        raise FileExistsError(f"{folder} is not empty: it holds {other[0]}")
    for name in (*_LEFTOVERS, *parts):
        (folder / name).unlink(missing_ok=True)


def write_manifest(folder: Path, options: dict[str, Any]) -> None:
    """Write the manifest whole or not at all: it is what makes a folder an index."""
    content = {"format": _FORMAT, "version": _VERSION, "claid_ext": __version__, **options}
    text = json.dumps(content, indent=2) + "\n"
    write_whole(folder / FILE, lambda part: part.write_text(text, encoding="utf-8"), durable=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest.

    Raises
    ------
    InvalidIndexError : the folder has none, it is damaged, or of another version; for an older one
        the message gives the command that makes the index anew.
    """
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidIndexError(f"{folder} is no instance index: it has no {FILE}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidIndexError(f"{folder / FILE} is damaged: {error}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InvalidIndexError(f"{folder / FILE} is not the manifest of an instance index")
    version = content.get("version")
    if version in _OLD_VERSIONS:
        raise InvalidIndexError(
            f"{folder} has version {version}, which this release cannot read. Make it anew from "
            f"its photos: {_command(content)}"
        )
    if version != _VERSION:
        raise InvalidIndexError(f"{folder} has version {version}; this release reads {_VERSION}")
    return content


def check_same(
    folder: Path | str, stored: Any, given: Any, what: str, *, allow_runtime: bool = False
) -> None:
    """Compare options as the manifest has them with those of what is given now.

    `allow_runtime`: another runtime or precision of the networks is no difference.

    Raises
    ------
    IndexMismatchError : names each option that differs, what the index has and what was given.
    """
    found = _differences(stored, json.loads(json.dumps(given)), what)
    runtimes = [text for key, text in found if key in _RUNTIMES]
    others = [text for key, text in found if key not in _RUNTIMES]
    if others or (runtimes and not allow_runtime):
        named = "; ".join(others if allow_runtime else others + runtimes)
        raise IndexMismatchError(
            f"{folder} was made with other options: {named}. Leave these options out to use the "
            f"index's own, or make a new index{'' if others else _OR_ALLOW}"
        )


def _differences(stored: Any, given: Any, what: str, key: str = "") -> list[tuple[str, str]]:
    """The last name of each option that differs, and what differs."""
    if isinstance(stored, dict) and isinstance(given, dict):
        return [
            difference
            for key in sorted({*stored, *given})
            for difference in _differences(
                stored.get(key, _RUNTIMES.get(key)),
                given.get(key, _RUNTIMES.get(key)),
                f"{what} {key}".strip(),
                key,
            )
        ]
    same = stored == given
    return [] if same else [(key, f"{what}: the index has {stored!r}, got {given!r}")]


def _command(old: dict[str, Any]) -> str:
    """Return the command that makes an index of version 1 or 2 anew, without the photos' names."""
    command = ["claid index PHOTOS -o NEW"]
    if (regions := old.get("regions", "detect")) != "detect":
        command.append(f"--regions {regions}")
    recipes = old.get("recipes") or {}
    for of, option in (("detector", "--backbone"), ("descriptor", "--descriptor")):
        if name := (recipes.get(of) or {}).get("backbone"):
            command.append(f"{option} {name}")
    for option in ("factory", "pca"):
        if (value := old.get(option)) not in {None, "Flat"}:
            command.append(f"--{option} {value}")
    return " ".join(command)
