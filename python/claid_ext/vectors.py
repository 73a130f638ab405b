"""Vectors of length 1, and how they are coded as int8."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["VECTOR_UNIT", "decode_vectors", "encode_vectors", "unit"]

FloatArray = NDArray[np.float32]

VECTOR_UNIT = 254  # int8 steps that make length 1: step 1/254, components up to 1/2


def unit(rows: ArrayLike) -> FloatArray:
    """Bring rows (..., d) to length 1, as float32; rows of zeros stay zeros."""
    given = np.asarray(rows, np.float32)
    # In float64, so that neither large nor small numbers overflow or vanish when squared.
    length = np.sqrt(np.einsum("...d,...d->...", given, given, dtype=np.float64))[..., None]
    scaled: FloatArray = np.zeros_like(given)
    np.divide(given, length, out=scaled, where=length != 0, casting="same_kind")
    return scaled


def encode_vectors(vectors: ArrayLike) -> NDArray[np.int8]:
    """Code unit vectors (..., D) as int8: each component times 254, rounded.

    One step for all, and no scale to store beside them: what a code stands for is its direction
    (`decode_vectors`). Since all codes are about 254 long, to within 1 %, the very bytes are ranked
    by inner product (`claid_ext.index.coded`). A vector with a component over 1/2, which whitened
    ones hardly have, is shortened to fit: its direction stays.
    """
    given = np.asarray(vectors, np.float32)
    largest = np.iinfo(np.int8).max
    peak = np.abs(given).max(axis=-1, keepdims=True, initial=0.0)
    factor = np.minimum(VECTOR_UNIT, largest / np.maximum(peak, np.float32(largest / VECTOR_UNIT)))
    codes: NDArray[np.int8] = np.rint(given * factor).astype(np.int8)
    return codes


def decode_vectors(codes: NDArray[np.int8]) -> FloatArray:
    """Return what codes (..., D) of `encode_vectors` stand for: float32 (..., D), of length 1.

    Raises
    ------
    TypeError : they are not int8.
    """
    if codes.dtype != np.int8:
        raise TypeError(f"codes of vectors must be int8, got {codes.dtype}")
    return unit(codes)
