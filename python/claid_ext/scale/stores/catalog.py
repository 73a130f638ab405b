"""The catalog of a store: which shards and removals of a data set it holds. Its commit point.

One small file, replaced whole: what a store shows changes when it does, whatever a server behind it
has or lacks at that moment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from claid_ext.errors import InvalidIndexError
from claid_ext.scale.files import Files

__all__ = ["Catalog", "from_ranges", "read_catalog", "to_ranges", "write_catalog"]

_FORMAT, _VERSION = "claid_ext.Catalog", 1


class Catalog(NamedTuple):
    """What a store holds: `shards`, and how many of the data set's `removals` it has followed."""

    shards: frozenset[int] = frozenset()
    removals: int = 0


def read_catalog(files: Files, name: str) -> Catalog:
    """Read a catalog; one that is not there is empty.

    Raises
    ------
    InvalidIndexError : it is damaged, or of another version.
    """
    try:
        content = json.loads(files.read(name))
        if (content["format"], content["version"]) != (_FORMAT, _VERSION):
            raise ValueError(f"version {content['version']} of {content['format']}")
        return Catalog(frozenset(from_ranges(content["shards"])), int(content["removals"]))
    except FileNotFoundError:
        return Catalog()
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidIndexError(f"{files.shown(name)} cannot be read: {error}") from None


def write_catalog(files: Files, name: str, catalog: Catalog) -> None:
    """Write a catalog, whole or not at all."""
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "shards": to_ranges(catalog.shards),
        "removals": catalog.removals,
    }
    files.write(name, (json.dumps(content) + "\n").encode())


def from_ranges(ranges: Iterable[Sequence[int]]) -> set[int]:
    """Return the numbers that `to_ranges` wrote down."""
    return {number for first, last in ranges for number in range(first, last + 1)}


def to_ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Return the runs of numbers, each [first, last]."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges
