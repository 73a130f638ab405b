"""The statistics by which cells of feature maps are compared and stored: mean, PCA, product codes.

Fitted without labels on the photos of a collection. A cell (a network's output at one place of a
map) is brought to length 1, and the mean of its layer is subtracted. Then PCA gives two forms:

- for maps: 64 dimensions, each scaled by eigenvalue^(-1/4), brought to length 1 and
  product-quantised (Jégou, Douze and Schmid, PAMI 2011) to 16 bytes;
- for vectors: more dimensions, each scaled by eigenvalue^(-1/2): whitened (Jégou and Chum, ECCV
  2012), brought to length 1.

Only arrays: no torch.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from claid_ext.blocks import pack, unpack
from claid_ext.errors import DamagedRecordError
from claid_ext.vectors import unit

__all__ = [
    "MAP_DIM",
    "SUBSPACES",
    "Basis",
    "LayerBasis",
    "default_dims",
]

FloatArray = NDArray[np.float32]

MAP_DIM = 64  # of a cell of a stored map
SUBSPACES = 16  # dimension d is in subspace d mod 16, so that all have equal weight
CENTROIDS = 256  # a subspace: a byte each
SUBSPACE_DIM = MAP_DIM // SUBSPACES
MAP_POWER = 0.25  # of the eigenvalues, by which a map's dimensions are divided
VECTOR_POWER = 0.5  # the same for vectors: full whitening
VECTOR_DIMS = {1: (208,), 2: (112, 96)}  # by the number of layers: 208 in all
FURTHER_VECTOR_DIM = 96  # a layer, where there are more than two

LEAST_VARIANCE = 1e-7  # share of the largest eigenvalue below which a dimension is only rounding

ITERATIONS = 25  # of k-means: faiss's own default for product quantisers
SEED = 1234  # of k-means, likewise
CELLS_A_CENTROID = 256  # cells that k-means is trained on at most, likewise


_MAGIC = b"CBAS"
_VERSION = 1
_READABLE = range(1, _VERSION + 1)
_FINGERPRINT_BYTES = 32  # of SHA-256


@dataclass(frozen=True, eq=False)
class LayerBasis:
    """The basis of one layer of C channels.

    Attributes
    ----------
    mean : float32 (C,), of cells of length 1.
    axes : float32 (n, C), the principal axes by falling eigenvalue; n is at least `vector_dim`,
        and 64 where the layer has as many channels.
    variances : float32 (n,), their eigenvalues.
    vector_dim : how many of them a whitened cell has.
    centroids : float32 (16, 256, 4), of each subspace.
    """

    mean: FloatArray
    axes: FloatArray
    variances: FloatArray
    vector_dim: int
    centroids: FloatArray

    @property
    def channels(self) -> int:
        """C."""
        return len(self.mean)

    def project(self, cells: ArrayLike) -> FloatArray:
        """Bring cells (..., C) to the form of maps, before they are coded.

        Returns
        -------
        float32 (..., 64), of length 1; layers of fewer channels are filled up with zeros.
        """
        given = _check_cells(cells, self.channels)
        some = self._matrix(min(MAP_DIM, len(self.axes)), MAP_POWER)
        matrix = np.zeros((MAP_DIM, self.channels), np.float32)
        matrix[: len(some)] = some
        return unit((unit(given) - self.mean) @ matrix.T)

    def whiten(self, cells: ArrayLike) -> FloatArray:
        """Bring cells (..., C) to the form of vectors: float32 (..., vector_dim), of length 1."""
        given = _check_cells(cells, self.channels)
        return unit((unit(given) - self.mean) @ self._matrix(self.vector_dim, VECTOR_POWER).T)

    def encode(self, cells: ArrayLike) -> NDArray[np.uint8]:
        """Project and code cells (..., C): uint8 (..., 16), the nearest centroid by subspace."""
        projected = self.project(cells)
        return _nearest(projected.reshape(-1, MAP_DIM), self.centroids).reshape(
            *projected.shape[:-1], SUBSPACES
        )

    def decode(self, codes: NDArray[np.uint8]) -> FloatArray:
        """Return what codes (..., 16) stand for: float32 (..., 64), of about length 1.

        Raises
        ------
        ValueError : codes of another type or shape.
        """
        if codes.dtype != np.uint8 or codes.shape[-1:] != (SUBSPACES,):
            raise ValueError(
                f"codes must be uint8 (..., {SUBSPACES}), got {codes.dtype} {codes.shape}"
            )
        parts = self.centroids[np.arange(SUBSPACES), codes]  # (..., 16, 4)
        decoded: FloatArray = np.swapaxes(parts, -1, -2).reshape(*codes.shape[:-1], MAP_DIM)
        return decoded

    def _matrix(self, dims: int, power: float) -> FloatArray:
        """The first axes, divided by a power of their eigenvalues: float32 (dims, C)."""
        variances = self.variances[:dims].astype(np.float64)
        sound = variances > LEAST_VARIANCE * max(float(self.variances[0]), np.finfo(float).tiny)
        scale = np.zeros(dims)
        scale[sound] = variances[sound] ** -power
        return (self.axes[:dims] * scale[:, None]).astype(np.float32)

    @classmethod
    def fit(cls, cells: ArrayLike, vector_dim: int, seed: int = SEED) -> LayerBasis:
        """Fit to cells (n, C); see `Basis.fit`."""
        given = np.asarray(cells)
        if given.ndim != 2 or 0 in given.shape:
            raise ValueError(f"cells must be (n, C), at least one, got {given.shape}")
        channels = given.shape[1]
        if not 1 <= vector_dim <= channels:
            raise ValueError(f"dims must be from 1 to {channels} for such cells, got {vector_dim}")
        mean, variances, axes = _principal_axes(given)
        kept = max(vector_dim, min(MAP_DIM, channels))
        untrained = np.zeros((SUBSPACES, CENTROIDS, SUBSPACE_DIM), np.float32)
        basis = cls(mean, axes[:kept], variances[:kept], vector_dim, untrained)
        sample = _sample(len(given), CENTROIDS * CELLS_A_CENTROID)
        projected = basis.project(given[sample])
        return cls(mean, basis.axes, basis.variances, vector_dim, _train(projected, seed))


@dataclass(frozen=True, eq=False)
class Basis:
    """The basis of each layer of a network.

    Attributes
    ----------
    layers : of each layer, in the network's order.
    network : SHA-256 of the weights that gave these cells, hexadecimal; "" if it is not known.
    """

    layers: tuple[LayerBasis, ...]
    network: str = ""

    @classmethod
    def fit(
        cls,
        cells: Sequence[ArrayLike],
        *,
        dims: Sequence[int] | None = None,
        network: str = "",
        seed: int = SEED,
    ) -> Basis:
        """Fit to the cells of some photos. The same cells and seed give the same basis.

        Parameters
        ----------
        cells : of each layer, floats (n, C), as the network gives them; n may differ.
        dims : of whitened cells, for each layer; None for `default_dims`.
        network : SHA-256 of the network's weights.
        seed : of k-means.

        Raises
        ------
        ValueError : no cells, cells that are not finite, dims out of range.
        """
        shapes = [np.shape(its) for its in cells]
        if not shapes or any(len(shape) != 2 for shape in shapes):
            raise ValueError(f"cells must be (n, C) for each of one or more layers, got {shapes}")
        if dims is None:
            dims = default_dims([shape[1] for shape in shapes])
        if len(dims) != len(cells):
            raise ValueError(f"dims must be one for each of {len(cells)} layers, got {len(dims)}")
        fitted = (
            LayerBasis.fit(its, dim, seed + number)
            for number, (its, dim) in enumerate(zip(cells, dims, strict=True))
        )
        return cls(tuple(fitted), network)

    @property
    def vector_dim(self) -> int:
        """Length of a vector of all layers."""
        return sum(layer.vector_dim for layer in self.layers)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the bytes, hexadecimal: what codes and vectors were made with."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def __getitem__(self, number: int) -> LayerBasis:
        """Return that of one layer."""
        return self.layers[number]

    def to_bytes(self) -> bytes:
        """Return it as bytes, versioned and checksummed, the same on every machine."""
        blocks: dict[str, NDArray[Any]] = {"network": np.frombuffer(self._network, np.uint8)}
        for number, layer in enumerate(self.layers):
            blocks |= {
                f"mean {number}": layer.mean,
                f"axes {number}": layer.axes,
                f"variances {number}": layer.variances,
                f"centroids {number}": layer.centroids,
                f"vector_dim {number}": np.array(layer.vector_dim, np.int32),
            }
        return pack(_MAGIC, _VERSION, blocks)

    @classmethod
    def from_bytes(cls, content: bytes, what: str = "the basis") -> Basis:
        """Read what `to_bytes` made.

        Raises
        ------
        DamagedRecordError : it is something else, truncated, changed, or of another version.
        """
        blocks = unpack(_MAGIC, _READABLE, content, what)
        try:
            network = blocks.pop("network").tobytes().hex()
            layers = [_read_layer(blocks, number) for number in range(len(blocks) // 5)]
        except (KeyError, ValueError, TypeError) as error:
            raise DamagedRecordError(f"{what} is damaged: {error}") from None
        return cls(tuple(layers), network)

    @property
    def _network(self) -> bytes:
        digest = bytes.fromhex(self.network)
        if len(digest) not in {0, _FINGERPRINT_BYTES}:
            raise ValueError(f"network must be a SHA-256 in hexadecimal, got {self.network!r}")
        return digest


def default_dims(channels: Sequence[int]) -> tuple[int, ...]:
    """Dimensions of whitened cells for layers of so many channels: 208 in all for one or two."""
    wanted = VECTOR_DIMS.get(len(channels), (FURTHER_VECTOR_DIM,) * len(channels))
    return tuple(min(dim, its) for dim, its in zip(wanted, channels, strict=True))


def _check_cells(cells: ArrayLike, channels: int) -> FloatArray:
    given: FloatArray = np.asarray(cells, np.float32)
    if given.shape[-1:] != (channels,):
        raise ValueError(f"cells must be (..., {channels}) for this basis, got {given.shape}")
    return given


def _principal_axes(cells: NDArray[Any]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean (C,), eigenvalues (C,), falling, and axes (C, C), as rows, of cells of length 1."""
    count, channels = cells.shape
    total = np.zeros(channels)
    products = np.zeros((channels, channels))
    at_once = 1 << 15  # rows, so that float64 copies of all cells are never held
    for start in range(0, count, at_once):
        given = np.asarray(cells[start : start + at_once], np.float32)
        if not np.isfinite(given).all():
            raise ValueError("cells must be finite")
        some = unit(given).astype(np.float64)
        total += some.sum(axis=0)
        products += some.T @ some
    mean = total / count
    variances, axes = np.linalg.eigh(products / count - np.outer(mean, mean))
    axes = axes[:, ::-1].T
    # An axis has no sign of its own: the largest component is made positive.
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = axes * np.where(largest < 0, -1.0, 1.0)
    falling = np.maximum(variances[::-1], 0.0)
    return mean.astype(np.float32), falling.astype(np.float32), axes.astype(np.float32)


def _sample(count: int, most: int) -> NDArray[np.int64]:
    """Evenly spread row numbers, at most `most`."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _subspace(cells: FloatArray, number: int) -> FloatArray:
    return np.ascontiguousarray(cells[:, number::SUBSPACES])


def _train(cells: FloatArray, seed: int) -> FloatArray:
    """Centroids (16, 256, 4) of projected cells (n, 64)."""
    faiss = _import_faiss()
    trained = np.empty((SUBSPACES, CENTROIDS, SUBSPACE_DIM), np.float32)
    with _fused_distances(faiss):
        for number in range(SUBSPACES):
            part = _subspace(cells, number)
            if len(part) <= CENTROIDS:  # each its own centroid, the rest copies
                trained[number] = part[np.arange(CENTROIDS) % len(part)]
                continue
            kmeans = faiss.Kmeans(
                SUBSPACE_DIM, CENTROIDS, niter=ITERATIONS, seed=seed, min_points_per_centroid=1
            )
            kmeans.train(part)
            trained[number] = kmeans.centroids
    return trained


@contextmanager
def _fused_distances(faiss: Any) -> Iterator[None]:
    """Let faiss find nearest centroids of any number of cells by its kernel for many.

    It takes the one for few below `distance_compute_blas_threshold` numbers (128,000 in version
    1.15: 32,000 cells), which is 10 times slower for each. Results differ by rounding alone.
    """
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 1
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before


def _nearest(cells: FloatArray, centroids: FloatArray) -> NDArray[np.uint8]:
    codes = np.empty((len(cells), SUBSPACES), np.uint8)
    for number, its in enumerate(centroids):
        # |x - c|^2 less |x|^2, which is the same for all c.
        distance = (its**2).sum(axis=1) - 2 * (_subspace(cells, number) @ its.T)
        codes[:, number] = distance.argmin(axis=1)
    return codes


def _read_layer(blocks: dict[str, NDArray[Any]], number: int) -> LayerBasis:
    mean, axes, variances, centroids = (
        np.asarray(blocks[f"{name} {number}"], np.float32)
        for name in ("mean", "axes", "variances", "centroids")
    )
    vector_dim = int(blocks[f"vector_dim {number}"])
    shapes = (mean.shape, axes.shape, variances.shape, centroids.shape)
    count, channels = axes.shape
    wanted = ((channels,), (count, channels), (count,), (SUBSPACES, CENTROIDS, SUBSPACE_DIM))
    if shapes != wanted or not 1 <= vector_dim <= count <= channels:
        raise ValueError(f"arrays of {shapes} for {vector_dim} dimensions")
    return LayerBasis(mean, axes, variances, vector_dim, centroids)


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "a basis is fitted with faiss: pip install 'claid_ext[search]'"
        ) from error
    return faiss
