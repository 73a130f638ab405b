"""Parquet files: written with a checksum of every byte, read with it and their columns checked.

Parquet's own checksums are of its pages alone: a flipped bit in a count of rows loses rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from claid_ext.blocks import DIGEST_BYTES
from claid_ext.errors import InvalidIndexError
from claid_ext.scale.files import import_pyarrow

__all__ = ["Kind", "listing_rows", "parquet_bytes", "read_parquet"]

Kind = Callable[[Any], bool]  # whether an Arrow type is the wanted one

_SEAL = b"claid_ext:blake2b:"  # in the footer; behind it the digest of the file with zeros there
_ZEROS = b"0" * (2 * DIGEST_BYTES)


def parquet_bytes(table: Any) -> bytes:
    """Return an Arrow table as a file with a checksum."""
    pa = import_pyarrow()
    buffer = pa.BufferOutputStream()
    pa.parquet.write_table(table.replace_schema_metadata({b"seal": _SEAL + _ZEROS}), buffer)
    content: bytes = buffer.getvalue().to_pybytes()
    return _sealed(content, content.rindex(_SEAL) + len(_SEAL), _digest(content))


def _sealed(content: bytes, at: int, digest: bytes) -> bytes:
    return content[:at] + digest + content[at + len(digest) :]


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest().encode()


def _is_whole(content: bytes) -> bool:
    """Whether the checksum fits; a file that has none was written before there was one."""
    found = content.rfind(_SEAL)
    if found < 0:
        return True
    at = found + len(_SEAL)
    return content[at : at + len(_ZEROS)] == _digest(_sealed(content, at, _ZEROS))


def read_parquet(
    content: bytes, kinds: Mapping[str, Kind], what: str, *, nullable: Sequence[str] = ()
) -> Any:
    """Return some columns of a file that `parquet_bytes` made, an Arrow table.

    Parameters
    ----------
    content : the file.
    kinds : the wanted columns, and what each must be.
    what : names the file in errors.
    nullable : columns in which there may be nulls.

    Raises
    ------
    InvalidIndexError : it is damaged, or another kind of file.
    """
    pa = import_pyarrow()
    if not _is_whole(content):
        raise InvalidIndexError(f"{what} is damaged: its checksum does not fit")
    try:
        file = pa.parquet.ParquetFile(pa.BufferReader(content))
        _check_names(file.schema_arrow.names, kinds)
        table = file.read(columns=list(kinds)).select(list(kinds))
        table.validate(full=True)
        for name, fits in kinds.items():
            column = table[name]
            if not fits(column.type):
                raise pa.ArrowInvalid(f"the column {name} is of the type {column.type}")
            if column.null_count and name not in nullable:
                raise pa.ArrowInvalid(f"the column {name} has nulls")
    except (pa.ArrowException, ValueError, OSError) as error:  # its IO errors are OSError itself
        raise InvalidIndexError(f"{what} is damaged: {error}") from None
    return table


def listing_rows(file: Any, what: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a listing of photos that somebody made.

    Parameters
    ----------
    file : open, of pyarrow. Its column `uri` has addresses; `bytes` and `modified`, if there are
        any, whole numbers, or what Arrow turns into them without loss, such as times.
    what : names it in errors.

    Raises
    ------
    ValueError : it is no Parquet, or a column is missing or of a wrong type.
    """
    pa = import_pyarrow()
    types = {"uri": pa.string(), "bytes": pa.int64(), "modified": pa.int64()}
    try:
        table = pa.parquet.ParquetFile(file)
        names = table.schema_arrow.names
        columns = [name for name in types if name in names]
        if "uri" not in names:
            raise pa.ArrowInvalid(f"a listing must have the column uri, got {names}")
        _check_names(names, columns)
        wanted = pa.schema([(name, types[name]) for name in columns])
        batches = table.iter_batches(columns=columns)
        while (batch := next(batches, None)) is not None:
            rows = pa.Table.from_batches([batch]).select(columns).cast(wanted)
            rows.validate(full=True)
            if rows["uri"].null_count:
                raise pa.ArrowInvalid("a row has no uri")
            yield from rows.to_pylist()
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ValueError(f"{what}: {error}") from None


def _check_names(names: Sequence[str], wanted: Sequence[str] | Mapping[str, Kind]) -> None:
    pa = import_pyarrow()
    for name in wanted:
        if names.count(name) != 1:
            raise pa.ArrowInvalid(f"wanted one column {name}, got {list(names)}")
