"""Class-weighted features (Jimenez, Alvarez and Giro-i-Nieto, BMVC 2017, arXiv 1707.02581).

A photo's local features are weighted by the class activation map of each of its most probable
classes and by channel weights, summed to one vector per class, whitened, and summed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from claid_ext.descriptors.basis import Basis
from claid_ext.descriptors.maps import View, view_maps
from claid_ext.images import as_image
from claid_ext.vectors import unit

if TYPE_CHECKING:
    from PIL import Image

    from claid_ext.descriptors.classifier import GapClassifier
    from claid_ext.descriptors.pooling import FeatureMap
    from claid_ext.regions import Regions

__all__ = ["CamWeight", "Seen", "cells_inside", "channel_weights", "class_vectors", "scaled_maps"]

FloatArray = NDArray[np.float32]

CLASSES = 64  # section 4: of each photo, offline
SHORTER_SIDE = 720  # pixels, there
CELLS_A_DIMENSION = 2  # vectors that whitening is learned from, for each of its dimensions


class Seen(NamedTuple):
    """A photo as both layers see it.

    `local` is float32 (C, h, w); `last` the map that is averaged; `extent` the (height, width) in
    the photo's pixels that the h x w cells cover.
    """

    local: FloatArray
    last: FeatureMap
    extent: tuple[float, float]


def channel_weights(local: FloatArray) -> FloatArray:
    """Return CroW's channel weights (arXiv 1512.04065, section 3.3) of a map (C, h, w): (C,).

    log(sum of all Q / Q_k), Q_k being the share of cells in which channel k is above 0; 0 for a
    channel that is nowhere above 0.
    """
    share = (local > 0).mean(axis=(1, 2))
    weights = np.zeros(len(local), np.float32)
    active = share > 0
    weights[active] = np.log(share.sum() / share[active])
    return weights


def scaled_maps(maps: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Bring class maps (n, h, w) to a maximum of 1, negatives to 0, and resize them bilinearly.

    A map that is nowhere above 0 becomes 0 everywhere. Returns float32 (n, *size).
    """
    positive = np.maximum(maps, 0)
    peak = positive.max(axis=(1, 2), keepdims=True)
    scaled = np.divide(positive, peak, out=np.zeros_like(positive), where=peak > 0)
    resized: FloatArray = (
        torch.nn.functional.interpolate(
            torch.from_numpy(scaled)[None], size, mode="bilinear", align_corners=False
        )[0]
        .numpy()
        .astype(np.float32)
    )
    return resized


def class_vectors(
    local: FloatArray, maps: FloatArray, inside: NDArray[np.bool_] | None = None
) -> FloatArray:
    """Weight and sum a map's cells for each class (section 3.2), float32 (n, C), of length 1.

    Parameters
    ----------
    local : (C, h, w), also where only a part of it is summed: the channel weights are the photo's.
    maps : (n, h, w), of the classes.
    inside : bool (h, w), the cells that are summed; None for all.
    """
    masked = maps if inside is None else maps * inside
    sums = np.einsum("chw,nhw->nc", local, masked, optimize=True)
    return unit(sums * channel_weights(local))


def cells_inside(
    box: Sequence[float], cells: tuple[int, int], extent: tuple[float, float]
) -> NDArray[np.bool_]:
    """Return the cells (h, w) of a map that a box touches, at least one.

    `box` is [x0, y0, x1, y1) in pixels, `extent` the (height, width) in pixels that they cover.
    """
    inside = np.zeros(cells, bool)
    spans = []
    for axis, count in enumerate(cells):
        per_pixel = count / extent[axis]
        low = min(max(int(np.floor(box[1 - axis] * per_pixel)), 0), count - 1)
        high = min(max(int(np.ceil(box[3 - axis] * per_pixel)), low + 1), count)
        spans.append(slice(low, high))
    inside[tuple(spans)] = True
    return inside


class CamWeight:
    """CAM-weight: one vector per photo, the sum over its 64 most probable classes ("offline").

    For a part of a photo, as a query is, the part is cut out and classified to get its classes; the
    whole photo is then described by their maps, and only the cells inside the part are summed.
    """

    def __init__(
        self, classifier: GapClassifier, whitening: Basis | None = None, classes: int = CLASSES
    ) -> None:
        """Use a classifier.

        Parameters
        ----------
        classifier : gives the class maps, the local features and the classes.
        whitening : as `fit` makes it; None for none.
        classes : how many are summed.
        """
        most = len(classifier.weight)
        if not 1 <= classes <= most:
            raise ValueError(f"classes must be from 1 to {most} for this classifier, got {classes}")
        self.classifier = classifier
        self.whitening = whitening
        self.classes = classes

    def fit(self, images: Iterable[Any]) -> None:
        """Learn the whitening from other photos than are searched (section 4: the other set).

        One vector of each photo, of its most probable class, as published; where that is less than
        twice the dimensions, as many classes of each as are needed.
        """
        of_each: list[FloatArray] = []
        for image in images:
            seen = self.see(as_image(image))
            of_each.append(self._plain(seen, self.top_classes(seen, self.classes)))
        if not of_each:
            raise ValueError("images: whitening needs at least one photo to be learned from")
        dim = of_each[0].shape[1]
        needed = min(self.classes, -(-CELLS_A_DIMENSION * dim // len(of_each)))
        cells = np.concatenate([vectors[:needed] for vectors in of_each])
        self.whitening = Basis.fit([cells], dims=[dim], network=self.classifier.network.fingerprint)

    def __call__(self, images: Sequence[Any], regions: Sequence[Regions]) -> list[FloatArray]:
        """Return the vectors of each image's regions, as `Descriptor`."""
        made = []
        for image, its in zip(images, regions, strict=True):
            picture = as_image(image)
            seen = self.see(picture)
            made.append(np.stack([self._of_box(picture, seen, box) for box in its.boxes.tolist()]))
        return made

    def see(self, picture: Image.Image, box: Sequence[float] | None = None) -> Seen:
        """Run the network on a photo or a box of it, its shorter side brought to 720 pixels."""
        x0, y0, x1, y1 = (0, 0, *picture.size) if box is None else box
        scale = SHORTER_SIDE / min(x1 - x0, y1 - y0)
        # An extremely elongated box would not fit into memory: its longer side is bounded.
        scale = min(scale, 4 * SHORTER_SIDE / max(x1 - x0, y1 - y0))
        size = (max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale)))
        ((local, last),) = view_maps(
            self.classifier.network, [View(picture, (x0, y0, x1, y1), size)]
        )
        return Seen(local.values.cpu().numpy(), last, local.extent)

    @torch.inference_mode()
    def top_classes(self, seen: Seen, count: int) -> torch.Tensor:
        """Return the most probable classes, most probable first, int64 (count,)."""
        return self.classifier.scores(seen.last).topk(count).indices

    @torch.inference_mode()
    def heat_maps(self, seen: Seen, classes: torch.Tensor) -> FloatArray:
        """Return the class maps, 0 to 1, on the cells of the local features: (n, h, w)."""
        maps = self.classifier.class_maps(seen.last, classes).cpu().numpy()
        return scaled_maps(maps, (seen.local.shape[1], seen.local.shape[2]))

    def vector(
        self, seen: Seen, classes: torch.Tensor, inside: NDArray[np.bool_] | None = None
    ) -> FloatArray:
        """Return the vector (dim,) of a photo, or of some of its cells, by some classes."""
        vectors = self._plain(seen, classes, inside)
        if self.whitening is not None:
            vectors = self.whitening[0].whiten(vectors)
        return unit(vectors.sum(axis=0))

    def manifest(self) -> dict[str, Any]:
        """Return what must match, as `Descriptor`."""
        network = self.classifier.network
        return {
            "name": "cam-weight",
            "network": network.name,
            "layer": network.layers[0] if network.layers else "",
            "weights": network.fingerprint,
            "classes": self.classes,
            "whitening": None if self.whitening is None else self.whitening.fingerprint,
            "dim": self.dim,
        }

    def recipe(self) -> None:
        """None: it depends on the photos that the whitening was learned from."""

    @property
    def dim(self) -> int:
        """Length of a vector: the channels of the local features."""
        if self.whitening is not None:
            return self.whitening.vector_dim
        from PIL import Image as Pillow

        return len(self.see(Pillow.new("RGB", (64, 64))).local)

    def query_classes(
        self, picture: Image.Image, seen: Seen, box: Sequence[float], count: int
    ) -> torch.Tensor:
        """Return the classes of a box of a photo, by what is cut out; of all of it, the photo's."""
        whole = (0.0, 0.0, *map(float, picture.size))
        part = seen if tuple(box) == whole else self.see(picture, box)
        return self.top_classes(part, count)

    def _of_box(self, picture: Image.Image, seen: Seen, box: Sequence[float]) -> FloatArray:
        classes = self.query_classes(picture, seen, box, self.classes)
        cells = (seen.local.shape[1], seen.local.shape[2])
        return self.vector(seen, classes, cells_inside(box, cells, seen.extent))

    def _plain(
        self, seen: Seen, classes: torch.Tensor, inside: NDArray[np.bool_] | None = None
    ) -> FloatArray:
        return class_vectors(seen.local, self.heat_maps(seen, classes), inside)
