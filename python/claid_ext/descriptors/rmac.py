"""R-MAC (Tolias, Sicre and Jégou, ICLR 2016, arXiv 1511.05879): squares of a map, max-pooled.

Each square's maximum over its cells by channel (MAC) is brought to length 1, whitened by the
principal axes of other photos' squares, and brought to length 1 again. `RMac` sums them into one
vector for a photo; `RegionMac` keeps one for each region.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.descriptors.basis import Basis
from claid_ext.descriptors.maps import View, view_maps
from claid_ext.images import as_image
from claid_ext.vectors import unit

if TYPE_CHECKING:
    from PIL import Image

    from claid_ext.descriptors.networks import ConvNetwork
    from claid_ext.descriptors.pooling import FeatureMap
    from claid_ext.regions import Regions

__all__ = ["RMac", "RegionMac", "rmac_boxes"]

FloatArray = NDArray[np.float32]

SCALES = 3  # section 4.2: L = 3
OVERLAP = 0.4  # there: neighbouring squares overlap by 40 %, as nearly as whole numbers allow
STEPS = np.arange(2, 8)  # squares along the longer side at the first scale that are tried


def rmac_boxes(size: tuple[int, int], scales: int = SCALES) -> NDArray[np.int64]:
    """Return R-MAC's squares on a map, in cells (section 3.2).

    At scale l = 1 .. L the side is floor(2 min(h, w) / (l + 1)); l squares lie along the shorter
    side, and along the longer one m more, m being such that neighbours of the first scale overlap
    by nearest to 40 %.

    Parameters
    ----------
    size : (height, width) of the map, in cells.
    scales : L.

    Returns
    -------
    int64 (R, 4), [x0, y0, x1, y1), by scale, then row by row; at least one.

    Raises
    ------
    ValueError : a map without cells.
    """
    height, width = size
    short, long = min(size), max(size)
    if short < 1:
        raise ValueError(f"size: a map must have cells, got {size}")
    overlap = 1 - (long - short) / (STEPS - 1) / short
    more = 0 if long == short else int(np.abs(overlap - OVERLAP).argmin()) + 1
    boxes = []
    for scale in range(1, scales + 1):
        side = 2 * short // (scale + 1)
        if side == 0:
            continue
        rows = _corners(height, side, scale + (more if height > width else 0))
        columns = _corners(width, side, scale + (more if width > height else 0))
        boxes += [[x, y, x + side, y + side] for y in rows for x in columns]
    return np.array(boxes, np.int64)


def _corners(length: int, side: int, count: int) -> list[int]:
    step = (length - side) / (count - 1) if count > 1 else 0.0
    return [int(np.floor(number * step)) for number in range(count)]


def max_pool(values: FloatArray, boxes: NDArray[np.int64]) -> FloatArray:
    """Return the maximum of each channel over each box: map (C, h, w), boxes (R, 4): (R, C)."""
    pooled = [values[:, y0:y1, x0:x1].max(axis=(1, 2)) for x0, y0, x1, y1 in boxes.tolist()]
    return np.stack(pooled)


class _Mac(ABC):
    """What both have in common: a network, its last layer's maps, and the whitening."""

    kind: str

    def __init__(self, network: ConvNetwork, whitening: Basis | None = None) -> None:
        """Use the last of a network's layers.

        Parameters
        ----------
        network : its last layer gives the maps.
        whitening : as `fit` makes it; None for none.
        """
        self.network = network
        self.whitening = whitening

    def fit(self, images: Iterable[Any]) -> None:
        """Learn the whitening from the squares of other photos than are searched (section 5.1)."""
        squares = []
        for image in images:
            picture = as_image(image)
            values = self._map(picture, (0, 0, *picture.size)).values.cpu().numpy()
            squares.append(max_pool(values, rmac_boxes((values.shape[1], values.shape[2]))))
        if not squares:
            raise ValueError("images: whitening needs at least one photo to be learned from")
        cells = np.concatenate(squares)
        self.whitening = Basis.fit([cells], dims=[cells.shape[1]], network=self._weights)

    def manifest(self) -> dict[str, Any]:
        """Return what must match, as `Descriptor`."""
        return {
            "name": self.kind,
            "network": self.network.name,
            "layer": self.network.layers[-1] if self.network.layers else "",
            "weights": self._weights,
            "whitening": None if self.whitening is None else self.whitening.fingerprint,
            "dim": self.dim,
        }

    def recipe(self) -> None:  # noqa: B027 (not empty: it says that there is none)
        """None: it depends on the photos that the whitening was learned from."""

    @property
    def dim(self) -> int:
        """Length of a vector: the layer's channels."""
        if self.whitening is not None:
            return self.whitening.vector_dim
        from PIL import Image as Pillow

        probe = Pillow.new("RGB", (64, 64))
        return len(self._map(probe, (0, 0, 64, 64)).values)

    @property
    def _weights(self) -> str:
        return self.network.fingerprint

    def _map(self, picture: Image.Image, box: tuple[float, float, float, float]) -> FeatureMap:
        """The map of a box of a picture, at the picture's own size, at most 1024 pixels long."""
        height, width = self.network.input_size((picture.height, picture.width))
        y, x = height / picture.height, width / picture.width
        size = (max(1, round((box[3] - box[1]) * y)), max(1, round((box[2] - box[0]) * x)))
        ((*_, last),) = view_maps(self.network, [View(picture, box, size)])
        return last

    def _whitened(self, macs: FloatArray) -> FloatArray:
        return unit(macs) if self.whitening is None else self.whitening[0].whiten(macs)

    def __call__(self, images: Sequence[Any], regions: Sequence[Regions]) -> list[FloatArray]:
        """Return the vectors of each image's regions, as `Descriptor`."""
        return [
            self._describe(as_image(image), np.asarray(its.boxes, np.float64))
            for image, its in zip(images, regions, strict=True)
        ]

    @abstractmethod
    def _describe(self, picture: Image.Image, boxes: NDArray[np.float64]) -> FloatArray:
        """Return float32 (R, dim) for boxes (R, 4) in the picture's pixels."""


class RMac(_Mac):
    """One vector for a photo, or for a part of it that is cut out first, as a query is.

    The whitened squares are summed, and the sum is brought to length 1 (section 3.2).
    """

    kind = "rmac"

    def _describe(self, picture: Image.Image, boxes: NDArray[np.float64]) -> FloatArray:
        return np.stack([self._sum(picture, tuple(box)) for box in boxes.tolist()])

    def _sum(self, picture: Image.Image, box: Any) -> FloatArray:
        values = self._map(picture, box).values.cpu().numpy()
        squares = rmac_boxes((values.shape[1], values.shape[2]))
        return unit(self._whitened(max_pool(values, squares)).sum(axis=0))


class RegionMac(_Mac):
    """One vector for each region: the whitened maximum over the map's cells that it touches."""

    kind = "region mac"

    def _describe(self, picture: Image.Image, boxes: NDArray[np.float64]) -> FloatArray:
        values, extent = self._map(picture, (0, 0, *picture.size))
        height, width = values.shape[1:]
        per_pixel = np.array([width / extent[1], height / extent[0]] * 2)
        cells = boxes * per_pixel
        low = np.clip(np.floor(cells[:, :2]), 0, [width - 1, height - 1])
        high = np.clip(np.ceil(cells[:, 2:]), low + 1, [width, height])
        touched = np.concatenate([low, high], axis=1).astype(np.int64)
        return self._whitened(max_pool(values.cpu().numpy(), touched))
