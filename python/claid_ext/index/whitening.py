"""PCA-whitening of descriptors, fitted on what the index holds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from claid_ext.blocks import pack, unpack
from claid_ext.index.base import import_faiss, sample_vectors
from claid_ext.index.store import Store
from claid_ext.record import ImageRecord

__all__ = ["WHITENING_ROWS", "Whitening", "fit_whitening"]

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

    def applied(self, record: ImageRecord) -> ImageRecord:
        """Return a record with its vectors whitened."""
        return replace(record, vectors=self(record.unit_vectors))

    def to_bytes(self) -> bytes:
        """Return it as bytes, versioned and checksummed."""
        return pack(b"CWHI", 1, {"matrix": self.matrix, "offset": self.offset})

    @classmethod
    def from_bytes(cls, content: bytes) -> Whitening:
        """Read what `to_bytes` made. Raises DamagedRecordError where that has been changed."""
        blocks = unpack(b"CWHI", range(1, 2), content, "the index's whitening")
        return cls(blocks["matrix"], blocks["offset"])


def fit_whitening(store: Store, dim: int) -> None:
    """Fit the whitening to a store's vectors and apply it to all, if there are enough of them."""
    with store.reading() as view:
        if view.table.counts.sum() < LEAST_ROWS_A_DIM * dim:
            return
        whitening = Whitening.fit(sample_vectors(view, WHITENING_ROWS), dim)
        ids = view.table.ids
        records = [(image, whitening.applied(record)) for image, record in view.records(ids)]
    store.recode(iter(records), {"whitening": whitening.to_bytes()})
