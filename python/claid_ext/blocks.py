"""Named arrays to bytes and back: versioned, little-endian, checksummed.

    magic 4 bytes | version u16 | number of blocks u16
    a block: length of name u8 | name, ASCII | dtype u8 | dimensions u8 | each u32 | its numbers
    BLAKE2b of all before, 16 bytes

Records and bases are written so. A changed bit, a missing or an additional byte is an error.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.errors import DamagedRecordError

__all__ = ["pack", "unpack"]

DIGEST_BYTES = 16
MOST_LETTERS = 255
_HEAD = struct.Struct("<4sHH")
_DTYPES = tuple(np.dtype(name) for name in ("<f4", "<f8", "<f2", "<i4", "<i8", "i1", "u1", "<u2"))
_CODES = {dtype: code for code, dtype in enumerate(_DTYPES)}


def pack(magic: bytes, version: int, arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Return arrays as bytes.

    Parameters
    ----------
    magic : 4 bytes that say what this is.
    version : of what the arrays mean, 0 to 65535.
    arrays : by name (ASCII, at most 255 characters): float16/32/64, int8/32/64, uint8/16 of any
        shape.

    Raises
    ------
    TypeError : an array of another dtype.
    ValueError : a longer name, or one that is not ASCII.
    """
    parts = [_HEAD.pack(magic, version, len(arrays))]
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _CODES:
            raise TypeError(f"{name} must be of {[str(d) for d in _DTYPES]}, got {array.dtype}")
        if not name.isascii() or len(name) > MOST_LETTERS:
            raise ValueError(f"a name must be ASCII, at most {MOST_LETTERS} characters: {name!r}")
        label = name.encode()
        parts += [
            struct.pack("<B", len(label)),
            label,
            struct.pack(f"<BB{array.ndim}I", _CODES[dtype], array.ndim, *array.shape),
            np.ascontiguousarray(array, dtype).tobytes(),
        ]
    content = b"".join(parts)
    return content + _digest(content)


def unpack(magic: bytes, versions: range, content: bytes, what: str) -> dict[str, NDArray[Any]]:
    """Return the arrays that `pack` wrote, read-only.

    Parameters
    ----------
    magic : as it must be.
    versions : those that can be read.
    content : the bytes.
    what : what to call it in an error.

    Raises
    ------
    DamagedRecordError : something else, cut short, changed, or of another version.
    """
    if len(content) < _HEAD.size + DIGEST_BYTES or content[:4] != magic:
        raise DamagedRecordError(f"{what} is damaged: it does not begin as one, or is cut short")
    body = content[:-DIGEST_BYTES]
    if _digest(body) != content[-DIGEST_BYTES:]:
        raise DamagedRecordError(f"{what} is damaged: its checksum does not fit its content")
    _, version, count = _HEAD.unpack_from(body)
    if version not in versions:
        raise DamagedRecordError(
            f"{what} has version {version}; this release reads {versions[0]} to {versions[-1]}"
        )
    arrays: dict[str, NDArray[Any]] = {}
    at = _HEAD.size
    try:
        for _ in range(count):
            end = at + 1 + body[at]
            name = body[at + 1 : end].decode("ascii")
            code, dimensions = body[end], body[end + 1]
            shape = struct.unpack_from(f"<{dimensions}I", body, end + 2)
            at = end + 2 + 4 * dimensions
            arrays[name] = np.frombuffer(body, _DTYPES[code], math.prod(shape), at).reshape(shape)
            at += arrays[name].nbytes
    except (IndexError, ValueError, OverflowError, struct.error) as error:
        raise DamagedRecordError(f"{what} is damaged: {error}") from None
    if at != len(body):
        raise DamagedRecordError(f"{what} is damaged: {len(body) - at} bytes too many")
    return arrays


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
