"""DASR and DASR* (Xiao et al., ACM TOMM 18, 2022, arXiv 2002.00185): deeply activated regions.

The last map of a convolutional network is averaged over its channels. Each peak of that response is
sent back to the pixels that caused it (`claid_ext.baselines.prm`), and an ellipse around them gives
a box. DASR takes peaks that are over the mean; DASR* takes all, and drops overlapping boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from claid_ext.baselines.prm import peak_maps
from claid_ext.descriptors.inputs import padded_pixels
from claid_ext.images import as_image
from claid_ext.regions.value import Regions

if TYPE_CHECKING:
    from PIL import Image

    from claid_ext.descriptors.networks import ConvNetwork

__all__ = ["DasrRegions", "Peaks", "ellipse_box", "response_peaks", "suppress"]

FloatArray = NDArray[np.float64]

LONGER_SIDE = 512  # pixels, as in the authors' code, like the others
PERCENTILE = 95  # of a peak's map, below which it is set to 0
HALF_AXES = 2.0  # standard deviations
SUPPRESSION_IOU = 0.3  # of DASR*
NAMES = ("dasr", "dasr_star")


def response_peaks(response: NDArray[np.float32], least: float) -> NDArray[np.int64]:
    """Return the peaks of a response map (h, w): row and column, int64 (P, 2), highest first.

    A peak is the maximum of its 3 x 3 window, is not on the map's border, and is above `least`.
    """
    try:
        from skimage.feature import peak_local_max
    except ImportError as error:
        raise ImportError("DASR needs scikit-image: pip install 'claid_ext[baselines]'") from error
    find: Any = peak_local_max  # it has no types
    peaks: NDArray[np.int64] = find(
        response, min_distance=1, exclude_border=1, threshold_abs=least
    ).astype(np.int64)
    return peaks


def ellipse_box(weights: NDArray[np.float32]) -> FloatArray | None:
    """Return the box around what a peak's map (H, W) shows, [x0, y0, x1, y1) in its pixels.

    Values under the 95th percentile are set to 0. The ellipse around the pixels that are left has
    their mean as its centre, and half axes of twice the square roots of the eigenvalues of their
    covariance; its bounding box then reaches twice the standard deviation along x and along y. At
    least a pixel a side; clipped to the map. None for a map that is 0 everywhere.
    """
    rows, columns = np.nonzero((weights > 0) & (weights >= np.percentile(weights, PERCENTILE)))
    if not len(rows):
        return None
    height, width = weights.shape
    sides = []
    for places, length in ((columns + 0.5, width), (rows + 0.5, height)):
        half = max(HALF_AXES * float(places.std()), 0.5)
        centre = float(places.mean())
        sides.append((max(0.0, centre - half), min(float(length), centre + half)))
    (x0, x1), (y0, y1) = sides
    return np.array([x0, y0, x1, y1])


def suppress(boxes: FloatArray, scores: FloatArray, iou: float = SUPPRESSION_IOU) -> FloatArray:
    """Return which boxes (R, 4) are left when each drops those of lower score that overlap it."""
    from torchvision.ops import nms

    kept = nms(torch.from_numpy(boxes).float(), torch.from_numpy(scores).float(), iou)
    return np.asarray(kept.numpy())


class Peaks(NamedTuple):
    """A photo's peaks, highest first.

    Attributes
    ----------
    boxes : float64 (P, 4), [x0, y0, x1, y1) in the photo's pixels.
    scores : float64 (P,), the response at each.
    mean : of the response over the photo.
    """

    boxes: FloatArray
    scores: FloatArray
    mean: float


class DasrRegions:
    """The regions of DASR ("dasr") or DASR* ("dasr_star"), in the order of their peaks' response.

    A photo without a peak gets its whole area.
    """

    def __init__(self, network: ConvNetwork, name: str = "dasr_star") -> None:
        """Use a network.

        Parameters
        ----------
        network : its last layer's map is the response; one that is never negative (as after a
            ReLU) is what the method was made for.
        name : "dasr" or "dasr_star".

        Raises
        ------
        ValueError : another name.
        """
        if name not in NAMES:
            raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
        self.network = network
        self.name = name

    def __call__(self, images: Sequence[Any]) -> list[Regions]:
        """Return the regions of each image, as `RegionSource`."""
        return [self._regions(as_image(image)) for image in images]

    def manifest(self) -> dict[str, Any]:
        """Return the name, and the network and its weights."""
        return {
            "name": self.name,
            "network": self.network.name,
            "weights": self.network.fingerprint,
        }

    def recipe(self) -> None:
        """None: its network is an object."""

    def peaks(self, picture: Image.Image) -> Peaks:
        """Send a photo's peaks back: all above 0, or for DASR those above the response's mean."""
        scale = LONGER_SIDE / max(picture.size)
        height = max(1, round(picture.height * scale))
        width = max(1, round(picture.width * scale))
        pixels = padded_pixels(
            picture,
            (height, width),
            mean=self.network.mean,
            std=self.network.std,
            multiple=self.network.multiple,
        ).to(self.network.device)

        def own_cells(response: NDArray[np.float32]) -> NDArray[np.float32]:
            # Cells that are only padding are not the photo's.
            rows, columns = (
                int(np.ceil(side * cells / padded))
                for side, cells, padded in zip(
                    (height, width), response.shape, pixels.shape[1:], strict=True
                )
            )
            return response[:rows, :columns]

        def peaks_of(response: NDArray[np.float32]) -> NDArray[np.int64]:
            own = own_cells(response)
            return response_peaks(own, max(0.0, float(own.mean())) if self.over_mean else 0.0)

        response, places, maps = peak_maps(self._last, pixels, peaks_of)
        to_photo = np.array([picture.width / width, picture.height / height] * 2)
        found = [
            (float(response[row, column]), box * to_photo)
            for (row, column), one in zip(places.tolist(), maps, strict=True)
            if (box := ellipse_box(one[:height, :width])) is not None
        ]
        return Peaks(
            np.array([box for _, box in found], np.float64).reshape(-1, 4),
            np.array([score for score, _ in found], np.float64),
            float(own_cells(response).mean()),
        )

    @property
    def over_mean(self) -> bool:
        """Whether only peaks above the response's mean count."""
        return self.name == "dasr"

    def _regions(self, picture: Image.Image) -> Regions:
        boxes, scores, mean = self.peaks(picture)
        boxes = boxes[scores > mean if self.over_mean else suppress(boxes, scores)]
        size = (picture.height, picture.width)
        return Regions.of_boxes(size, boxes, level=1) if len(boxes) else Regions.whole(size)

    def _last(self, batch: torch.Tensor) -> torch.Tensor:
        maps = self.network.module(batch)
        last: torch.Tensor = maps if isinstance(maps, torch.Tensor) else list(maps)[-1]
        return last
