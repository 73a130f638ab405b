"""int8 vectors in memory as they are stored, compared one by one: a quarter of float32.

The records hold these very bytes, so there is no file beside them. What a code c stands for is its
direction c / |c|; faiss sees c alone. For a query q, with s = <c, q> / 254 as the candidate's score
and t = <c, q> / |c| as the true one,

    |s - t| = |t| | |c| / 254 - 1 | <= |q| | |c| / 254 - 1 |.

So the error is bounded by how far lengths are from 254, which is measured here over all rows. Codes
of unit vectors are within 0.5 sqrt(D) of 254, by the triangle inequality, and nearly always much
nearer. Rows that are further off than `LENGTH_ERROR` are decoded, kept as float32 and compared
exactly: those of vectors with a component over 1/2, which `encode_vectors` shortens, would spoil
the bound for all. Rows of zeros have s = t = 0.

faiss's QT_8bit_direct_signed would fit, but on x86 it rounds the query to whole numbers where D
suits its integer kernels (a multiple of 32 with AVX-512 in version 1.15). So this is QT_8bit, which
keeps the query as it is, with a range set so that it decodes to c: -128.5 + 255 (byte + 1/2) / 255.

Rounding comes to that, with u = 2^-24: four operations decode a component, and are off by at most
4 x 256 u; D products are added up, in whatever order, and are off by at most (D + 1) u |c| |q|
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claid_ext.index.base import import_faiss
from claid_ext.index.sqlite import RecordFile
from claid_ext.vectors import VECTOR_UNIT, decode_vectors

__all__ = ["CodedRows", "read_coded"]

LENGTH_ERROR = 0.004  # of a code's length: of 208 dimensions, less than 1 in 1000 are further off
HALF_ULP = 2.0**-24  # of float32, relative
DECODING = 4 * 256 * HALF_ULP  # error of a decoded component
LOWEST, RANGE = -128.5, 255.0  # of QT_8bit, for its codes to stand for themselves less 128
ROWS_AT_ONCE = 16_384  # turned into float32 for faiss


class CodedRows(NamedTuple):
    """All vectors of a store.

    Attributes
    ----------
    index : faiss's, of T rows of int8.
    images : int64 (T,), the id of each row's image.
    error : by how much a score of `index`, divided by 254, may differ from the true one, for a
        query of length 1.
    aside : int64 (U,) ids and float32 (U, D) unit vectors, of the rows that are not in `index`.
    """

    index: Any
    images: NDArray[np.int64]
    error: float
    aside: tuple[NDArray[np.int64], NDArray[np.float32]]


def read_coded(file: RecordFile, ids: NDArray[np.int64], dim: int) -> CodedRows | None:
    """Read the vectors of images into memory; None where some are not int8.

    Parameters
    ----------
    file : of the index.
    ids : of all its images.
    dim : D of the vectors.

    Raises
    ------
    DamagedRecordError : a record is not what was stored.
    """
    index = _int8_index(dim)
    images, aside, error = [np.empty(0, np.int64)], [], 0.0
    aside_images = [np.empty(0, np.int64)]
    for owners, codes in _chunks(file, ids):
        if codes.dtype != np.int8:
            return None
        rows = codes.astype(np.float32)
        # Sums of integers, exact in float32 up to 2^24, which is far more than 254^2.
        off = np.sqrt(np.einsum("rd,rd->r", rows, rows).astype(np.float64)) / VECTOR_UNIT - 1
        off[off == -1] = 0.0  # rows of zeros
        near = np.abs(off) <= LENGTH_ERROR
        error = max(error, float(np.abs(off[near]).max(initial=0.0)))
        index.add(rows[near])
        images.append(owners[near])
        aside_images.append(owners[~near])
        aside.append(decode_vectors(codes[~near]))
    # The sum of |q_i| is at most sqrt(D) |q|.
    rounding = (dim + 1) * HALF_ULP * (1 + LENGTH_ERROR) + DECODING * dim**0.5 / VECTOR_UNIT
    others = np.concatenate([np.empty((0, dim), np.float32), *aside])
    return CodedRows(
        index, np.concatenate(images), error + rounding, (np.concatenate(aside_images), others)
    )


def _int8_index(dim: int) -> Any:
    """Make an empty faiss index that scores int8 rows by their inner product with floats."""
    faiss = import_faiss()
    kind = faiss.ScalarQuantizer.QT_8bit
    index = faiss.IndexScalarQuantizer(dim, kind, faiss.METRIC_INNER_PRODUCT)
    bounds = np.repeat(np.array([LOWEST, RANGE], np.float32), dim)
    faiss.copy_array_to_vector(bounds, index.sq.trained)
    index.is_trained = True
    return index


def _chunks(
    file: RecordFile, ids: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Yield ids (n,) and vectors (n, D) of some thousand rows at a time.

    Of another type than int8 is a chunk in which any record is.
    """
    owners: list[int] = []
    parts: list[NDArray[Any]] = []
    waiting = 0
    for image, record in file.records(ids):
        owners.append(image)
        parts.append(record.vectors)
        waiting += len(record)
        if waiting >= ROWS_AT_ONCE:
            yield np.repeat(owners, [len(its) for its in parts]), np.concatenate(parts)
            owners, parts, waiting = [], [], 0
    if waiting:
        yield np.repeat(owners, [len(its) for its in parts]), np.concatenate(parts)
