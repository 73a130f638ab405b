"""`RegionSource`: images in, their regions out; CLAID's own and blind ones to compare with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from claid_ext.choices import MAX_REGIONS, REGION_SOURCES
from claid_ext.errors import UnreadableImageError
from claid_ext.images import as_image, read_photo
from claid_ext.regions.scales import join_scales
from claid_ext.regions.thinning import thin
from claid_ext.regions.value import Regions

if TYPE_CHECKING:
    from claid_ext.detector import Detection, Detector, DetectorError

__all__ = ["REGION_SOURCES", "BoxRegions", "DetectedRegions", "RegionSource", "region_source"]

GRID_SIDES = (1, 2, 3, 4)  # Patchify (arXiv 2512.12610): 1 + 4 + 9 + 16 = 30 boxes
RMAC_SCALES = 3  # R-MAC (arXiv 1511.05879), section 4.2: L = 3
RMAC_OVERLAP = 0.4  # there: neighbouring regions overlap by 40 %, as nearly as whole numbers allow


class RegionSource(Protocol):
    """Finds the regions of images.

    Attributes
    ----------
    name : what it is called, such as one of REGION_SOURCES.
    """

    @property
    def name(self) -> str:
        """What it is called in a manifest."""

    def __call__(self, images: Sequence[Any]) -> list[Regions]:
        """Return the regions of each image, at least one per image.

        Parameters
        ----------
        images : paths, PIL images, uint8 arrays (height, width, 3), or `claid_ext.images.Photo`s.

        Raises
        ------
        UnreadableImageError : a path that is no readable image.
        """

    def manifest(self) -> dict[str, Any]:
        """Return what has to match for the same regions to come out, ready for JSON."""

    def recipe(self) -> dict[str, Any] | None:
        """Return how to make it again, named and versioned (`claid_ext.search.recipes`).

        None where that cannot be written down, as with a network that is a Python object.
        """


class DetectedRegions:
    """The kept regions of a detector's trees, at one or several scales of the image.

    An image in which the detector keeps nothing gets its whole area, at level 0.

    Attributes
    ----------
    detector : the detector, at its own scale.
    scales : at which it looks, ascending.
    with_dummies : whether dummies are regions too.
    max_regions : how many it gives of an image at most; None for all.
    """

    name = "detect"

    def __init__(
        self,
        detector: Detector,
        scales: Sequence[float] | None = None,
        *,
        with_dummies: bool = False,
        max_regions: int | None = MAX_REGIONS,
    ) -> None:
        """Check the scales; see `region_source`."""
        if scales is None:
            scales = [detector.scale]
        if max_regions is not None and max_regions < 1:
            raise ValueError(f"max_regions must be at least 1 or None, got {max_regions}")
        self.max_regions = max_regions
        self.detector = detector
        self.scales = tuple(sorted({float(scale) for scale in scales}))
        self.with_dummies = with_dummies
        if not self.scales:
            raise ValueError(f"scales must be one or more numbers, got {scales!r}")
        self._detectors = [
            detector if scale == detector.scale else detector.at(scale) for scale in self.scales
        ]

    def __call__(self, images: Sequence[Any]) -> list[Regions]:
        """Return the regions of each image, as `RegionSource`."""
        return [self.join(found) for found in self.detections(images)]

    def detections(self, images: Sequence[Any]) -> list[list[Detection]]:
        """Return the detections of each image, one for each of the scales."""
        photos = [read_photo(image) for image in images]
        return [
            list(its)
            for its in zip(*(detector(photos) for detector in self._detectors), strict=True)
        ]

    def stream(
        self, images: Iterable[Any], on_error: Callable[[Any, DetectorError], None]
    ) -> Iterator[list[Detection]]:
        """Yield the detections of any number of images, as `Detector.stream`, at each scale."""
        if len(self._detectors) == 1:
            yield from ([found] for found in self._detectors[0].stream(images, on_error))
            return
        for image in images:
            try:
                (found,) = self.detections([image])
            except (UnreadableImageError, ValueError) as error:
                on_error(image, error)
                continue
            yield found

    def join(self, found: Sequence[Detection]) -> Regions:
        """Make an image's regions of its detections, one for each of the scales."""
        joined = join_scales(found, self.scales, with_dummies=self.with_dummies)
        if self.max_regions is None or len(joined) <= self.max_regions:
            return joined
        return joined.take(thin(joined.boxes, self.max_regions))

    def manifest(self) -> dict[str, Any]:
        """Return the backbone, its weights and the options at each scale."""
        options = {
            f"{detector.scale:g}": {
                k: v for k, v in detector.detect_options.items() if k != "threads"
            }
            for detector in self._detectors
        }
        backbone = self.detector.backbone
        return {
            "name": self.name,
            "backbone": backbone.name,
            "weights": backbone.fingerprint,
            "scales": list(self.scales),
            "options": json.loads(json.dumps(options, default=str)),
            "with_dummies": self.with_dummies,
            "max_regions": self.max_regions,
        }

    def recipe(self) -> dict[str, Any] | None:
        """Return how to make it again; None with a backbone that is a module or callable."""
        backbone = self.detector.backbone.recipe()
        if backbone is None:
            return None
        return {
            "recipe": "detect",
            "version": 1,
            "backbone": backbone,
            "scales": list(self.scales),
            "with_dummies": self.with_dummies,
            "max_regions": self.max_regions,
            "options": {k: v for k, v in self.detector.given_options.items() if k != "threads"},
        }


class BoxRegions:
    """Boxes that follow from an image's size alone: `grid`, `full` and `rmac`.

    `grid` is 1x1 to 4x4 cells, 30 boxes; `full` the whole image; `rmac` R-MAC's squares at three
    scales, about 20 boxes.
    """

    def __init__(self, name: str) -> None:
        """Choose one of them by its name."""
        self.name = name
        self._boxes = _BOXES[name]

    def __call__(self, images: Sequence[Any]) -> list[Regions]:
        """Return the boxes of each image, as `RegionSource`."""
        sizes = [as_image(image).size for image in images]
        return [self._boxes((height, width)) for width, height in sizes]

    def manifest(self) -> dict[str, Any]:
        """Return the name."""
        return {"name": self.name}

    def recipe(self) -> dict[str, Any]:
        """Return the name."""
        return {"recipe": "boxes", "version": 1, "name": self.name}


def region_source(
    name: str = "detect",
    detector: Detector | None = None,
    scales: Sequence[float] | None = None,
    *,
    with_dummies: bool = False,
    max_regions: int | None = MAX_REGIONS,
) -> RegionSource:
    """Return what finds regions.

    Parameters
    ----------
    name : "detect", "grid", "full" or "rmac".
    detector : for "detect".
    scales : of the image at which the detector looks, for "detect"; None for the detector's own.
        The regions of several are joined: one whose box has an IoU of 0.8 with a box of a larger
        scale is left out.
    with_dummies : whether the detector's dummies are regions too (paper, Table VI).
    max_regions : how many regions of an image "detect" gives at most, the most overlapping ones
        going first (`claid_ext.regions.thinning`); None for all.

    Raises
    ------
    ValueError : another name, or "detect" without a detector; no scales, or some out of range; a
        detector, scales or dummies with another name.
    """
    if name not in REGION_SOURCES:
        raise ValueError(f"regions must be one of {', '.join(REGION_SOURCES)}, got {name!r}")
    if (name == "detect") != (detector is not None):
        raise ValueError(
            'regions="detect" needs a Detector, and only it takes one: '
            f"got regions={name!r}, detector={detector!r}"
        )
    if detector is not None:
        return DetectedRegions(detector, scales, with_dummies=with_dummies, max_regions=max_regions)
    if scales is not None or with_dummies:
        raise ValueError(
            f'scales and with_dummies are for regions="detect", got regions={name!r}, '
            f"scales={scales!r}, with_dummies={with_dummies!r}"
        )
    return BoxRegions(name)


def _grid(image_size: tuple[int, int]) -> Regions:
    height, width = image_size
    boxes, level = [], []
    for scale, side in enumerate(GRID_SIDES):
        y, x = height / side, width / side
        for row in range(side):
            for column in range(side):
                boxes.append([column * x, row * y, (column + 1) * x, (row + 1) * y])
                level.append(scale)
    return Regions.of_boxes(image_size, boxes, level)


def _rmac(image_size: tuple[int, int]) -> Regions:
    """Squares of side 2 min(w, h) / (l + 1) for l = 1, 2, 3, evenly spread over the image.

    At l = 1 as many lie along the longer side as make neighbours overlap by nearest to 40 %;
    each further scale has one more along both sides.
    """
    height, width = image_size
    short, long = min(image_size), max(image_size)
    more = 0
    if long > short:
        counts = np.arange(2, max(3, int(2 * long / short) + 2))
        overlap = 1 - (long - short) / (counts - 1) / short
        more = int(np.abs(overlap - RMAC_OVERLAP).argmin()) + 1
    boxes, level = [], []
    for scale in range(1, RMAC_SCALES + 1):
        side = 2 * short / (scale + 1)
        rows = scale + (more if height > width else 0)
        columns = scale + (more if width > height else 0)
        for y in np.linspace(0, height - side, rows):
            for x in np.linspace(0, width - side, columns):
                boxes.append([x, y, x + side, y + side])
                level.append(scale)
    return Regions.of_boxes(image_size, boxes, level)


_BOXES: dict[str, Callable[[tuple[int, int]], Regions]] = {
    "grid": _grid,
    "full": Regions.whole,
    "rmac": _rmac,
}
