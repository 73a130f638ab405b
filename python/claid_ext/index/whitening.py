"""PCA-whitening of descriptors, fitted on what the index holds."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claid_ext.index.vectors import import_faiss

__all__ = ["LEAST_ROWS_A_DIM", "WHITENING_ROWS", "Whitening"]

LEAST_ROWS_A_DIM = 4  # vectors for each dimension kept, below which nothing is fitted
WHITENING_ROWS = 65_536  # vectors it is fitted on at most: 32 for each of 2048 dimensions


@dataclass(frozen=True, eq=False)
class Whitening:
    """x -> A x + b, then to length 1: decorrelated, of equal variance, of fewer dimensions.

    `matrix` is float32 (d, D), `offset` float32 (d,).
    """

    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], dim: int) -> Whitening:
        """Fit to float32 (n, D) vectors, n >= dim; faiss's PCA, eigenvalues to the power -1/2."""
        faiss = import_faiss()
        pca = faiss.PCAMatrix(vectors.shape[1], dim, -0.5)
        pca.train(np.ascontiguousarray(vectors))
        matrix = faiss.vector_to_array(pca.A).reshape(dim, -1)
        return cls(matrix, faiss.vector_to_array(pca.b))

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply to float32 (n, D); returns float32 (n, d), rows of length 1."""
        whitened = vectors @ self.matrix.T + self.offset
        length = np.linalg.norm(whitened, axis=1, keepdims=True)
        unit: NDArray[np.float32] = whitened / np.maximum(length, np.finfo(np.float32).tiny)
        return unit

    def to_bytes(self) -> bytes:
        """Return it as the bytes of an npz file."""
        file = io.BytesIO()
        np.savez(file, matrix=self.matrix, offset=self.offset)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Whitening:
        """Read what `to_bytes` made."""
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return cls(file["matrix"], file["offset"])
