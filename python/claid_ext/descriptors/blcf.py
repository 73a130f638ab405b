"""BLCF: bags of local convolutional features (Mohedano et al., ICMR 2016, arXiv 1604.04653).

A map's cells are whitened and named by the nearest of many visual words; a photo is the histogram
of its words, sparse, compared by cosine. BLCF-saliency (arXiv 1711.10795) adds each cell with its
saliency instead of 1. Whitening and words are learned on the photos that are searched, as
published.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from claid_ext.descriptors.basis import Basis
from claid_ext.descriptors.maps import View, view_maps
from claid_ext.descriptors.saliency import block_maxima
from claid_ext.files import write_whole
from claid_ext.images import as_image

if TYPE_CHECKING:
    from PIL import Image
    from scipy.sparse import csr_array

    from claid_ext.descriptors.networks import ConvNetwork
    from claid_ext.descriptors.pooling import FeatureMap
    from claid_ext.descriptors.saliency import Saliency
    from claid_ext.regions import Regions

__all__ = ["Blcf", "Vocabulary", "box_cells", "histogram"]

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

WORDS = 25_000  # section 4 of arXiv 1711.10795
CELLS_A_WORD = 40  # learned from at least so many; a smaller set of photos gets fewer words
MOST_CELLS = WORDS * CELLS_A_WORD  # of evenly spread photos; published: up to 3,000,000
LONGER_SIDE = 340  # pixels, there
ZOOM = 2  # of the map before its cells are named, there
ITERATIONS = 25  # of k-means; published: at most 100, approximate
SEED = 1234
INSIDE = 0.5  # of a cell that a query's box must cover, there


class Vocabulary:
    """Whitening of cells and the words that they are named by.

    Attributes
    ----------
    whitening : a basis of one layer.
    words : float32 (K, C).
    """

    def __init__(self, whitening: Basis, words: FloatArray) -> None:
        """Take both; see `fit`."""
        import faiss

        self.whitening = whitening
        self.words = words
        self._index = faiss.IndexFlatL2(words.shape[1])
        self._index.add(np.ascontiguousarray(words))

    @classmethod
    def fit(cls, cells: FloatArray, words: int = WORDS, network: str = "") -> Vocabulary:
        """Learn from cells (n, C): at most n / 40 words, at least one."""
        import faiss

        whitening = Basis.fit([cells], dims=[cells.shape[1]], network=network)
        ready = whitening[0].whiten(cells)
        count = max(1, min(words, len(ready) // CELLS_A_WORD))
        kmeans = faiss.Kmeans(
            ready.shape[1], count, niter=ITERATIONS, seed=SEED, min_points_per_centroid=1
        )
        kmeans.train(ready)
        return cls(whitening, np.asarray(kmeans.centroids, np.float32))

    def name(self, cells: FloatArray) -> IntArray:
        """Return the nearest word of each cell (n, C), exactly: int64 (n,)."""
        _, nearest = self._index.search(self.whitening[0].whiten(cells), 1)
        named: IntArray = nearest[:, 0].astype(np.int64)
        return named

    @property
    def fingerprint(self) -> str:
        """SHA-256 of both."""
        return hashlib.sha256(self.whitening.to_bytes() + self.words.tobytes()).hexdigest()

    def save(self, path: Path) -> None:
        """Write it as one .npz file."""
        basis = np.frombuffer(self.whitening.to_bytes(), np.uint8)
        write_whole(path, lambda part: _save_npz(part, basis=basis, words=self.words))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as content:
            return cls(Basis.from_bytes(content["basis"].tobytes(), str(path)), content["words"])


def _save_npz(path: Path, **arrays: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def histogram(words: IntArray, weights: FloatArray, count: int) -> csr_array:
    """Add up weights by word, to length 1, as one sparse row (1, count)."""
    from scipy.sparse import csr_array

    sums = np.bincount(words, weights, minlength=count)
    length = np.sqrt((sums**2).sum())
    return csr_array((sums / length if length > 0 else sums)[None].astype(np.float32))


def box_cells(
    box: Sequence[float], cells: tuple[int, int], extent: tuple[float, float]
) -> NDArray[np.bool_]:
    """Return the cells (h, w) of a map of which a box covers at least half, at least one.

    `box` is [x0, y0, x1, y1) in pixels, `extent` the (height, width) in pixels that they cover.
    """
    shares = []
    for axis, count in enumerate(cells):
        low, high = (box[end - axis] / extent[axis] * count for end in (1, 3))
        first = np.arange(count)
        shares.append(np.clip(np.minimum(high, first + 1) - np.maximum(low, first), 0, None))
    share = np.outer(*shares)
    return np.asarray(share >= min(INSIDE, share.max()))


class Blcf:
    """Histograms of visual words: of photos, whose cells weigh 1 or their saliency, and of queries.

    Attributes
    ----------
    vocabulary : None until it is fitted or given.
    """

    def __init__(
        self,
        network: ConvNetwork,
        saliency: Saliency | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """Use the first of a network's layers, and a saliency network for the cells' weights."""
        self.network = network
        self.saliency = saliency
        self.vocabulary = vocabulary

    def fit(self, images: Sequence[Any], words: int = WORDS) -> None:
        """Learn whitening and words from the photos that are to be searched (section 4)."""
        sample: list[FloatArray] = []
        held = 0
        for number in np.random.default_rng(SEED).permutation(len(images)).tolist():
            if held >= MOST_CELLS:
                break
            values = self._map(as_image(images[number])).values.cpu().numpy()
            sample.append(values.reshape(len(values), -1).T)
            held += len(sample[-1])
        if not sample:
            raise ValueError("images: words need at least one photo to be learned from")
        cells = np.concatenate(sample)[:MOST_CELLS]
        self.vocabulary = Vocabulary.fit(cells, words, self.network.fingerprint)

    def photo(self, image: Any) -> csr_array:
        """Return the histogram of a photo, one sparse row of length 1."""
        picture = as_image(image)
        words, extent = self._words(picture)
        if self.saliency is None:
            weights = np.ones(words.shape, np.float32)
        else:
            weights = block_maxima(
                _over_extent(self.saliency(picture), picture, extent),
                (words.shape[0], words.shape[1]),
            )
        return histogram(words.ravel(), weights.ravel(), self.words_count)

    def query(self, image: Any, box: Sequence[float]) -> csr_array:
        """Return the histogram of the cells inside a box of a photo, each of weight 1."""
        words, extent = self._words(as_image(image))
        inside = box_cells(box, (words.shape[0], words.shape[1]), extent)
        chosen = words[inside]
        return histogram(chosen, np.ones(len(chosen), np.float32), self.words_count)

    def __call__(self, images: Sequence[Any], regions: Sequence[Regions]) -> list[FloatArray]:
        """Return dense vectors of each image's regions, as `Descriptor`.

        A region that is all of its photo is described as a photo is, any other as a query.
        """
        made = []
        for image, its in zip(images, regions, strict=True):
            picture = as_image(image)
            whole = (0.0, 0.0, float(picture.width), float(picture.height))
            rows = [
                self.photo(picture) if tuple(box) == whole else self.query(picture, box)
                for box in its.boxes.tolist()
            ]
            made.append(np.concatenate([row.toarray() for row in rows]).astype(np.float32))
        return made

    @property
    def words_count(self) -> int:
        """How many words there are."""
        return len(self._fitted.words)

    @property
    def _fitted(self) -> Vocabulary:
        if self.vocabulary is None:
            raise ValueError("BLCF needs a vocabulary: fit it on the photos to be searched")
        return self.vocabulary

    def manifest(self) -> dict[str, Any]:
        """Return what must match, as `Descriptor`."""
        return {
            "name": "blcf",
            "network": self.network.name,
            "layer": self.network.layers[0] if self.network.layers else "",
            "weights": self.network.fingerprint,
            "saliency": None if self.saliency is None else self.saliency.fingerprint,
            "vocabulary": self._fitted.fingerprint,
            "dim": self.words_count,
        }

    def recipe(self) -> None:
        """None: it depends on the photos that the words were learned from."""

    def _map(self, picture: Image.Image) -> FeatureMap:
        scale = LONGER_SIDE / max(picture.size)
        size = (max(1, round(picture.height * scale)), max(1, round(picture.width * scale)))
        ((first, *_),) = view_maps(self.network, [View(picture, (0, 0, *picture.size), size)])
        return first

    def _words(self, picture: Image.Image) -> tuple[IntArray, tuple[float, float]]:
        """The word of each cell of the enlarged map (h, w), and the pixels that it covers."""
        values, extent = self._map(picture)
        zoomed = torch.nn.functional.interpolate(
            values[None], scale_factor=ZOOM, mode="bilinear", align_corners=False
        )[0]
        channels, height, width = zoomed.shape
        cells = zoomed.cpu().numpy().reshape(channels, -1).T
        return self._fitted.name(np.ascontiguousarray(cells)).reshape(height, width), extent


def _over_extent(
    saliency: FloatArray, picture: Image.Image, extent: tuple[float, float]
) -> FloatArray:
    """Add to a photo's saliency zeros for the padding that its map's cells cover."""
    added = [
        round(side * (covered / pixels - 1))
        for side, covered, pixels in zip(
            saliency.shape, extent, (picture.height, picture.width), strict=True
        )
    ]
    return np.pad(saliency, [(0, max(0, more)) for more in added])
