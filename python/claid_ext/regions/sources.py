"""`RegionSource`: images in, their regions out; CLAID's, and fixed boxes to compare with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from claid_ext.choices import MAX_REGIONS, REGION_SOURCES
from claid_ext.errors import UnreadableImageError
from claid_ext.images import as_image, read_photo
from claid_ext.regions.from_file import FileRegions
from claid_ext.regions.scales import join_scales
from claid_ext.regions.thinning import checked_most, thin
from claid_ext.regions.value import Regions

if TYPE_CHECKING:
    import os

    from claid_ext.detector import Detection, Detector, DetectorError

__all__ = ["REGION_SOURCES", "BoxRegions", "DetectedRegions", "RegionSource", "region_source"]

GRID_SIDES = (1, 2, 3, 4)  # Patchify (arXiv 2512.12610): 1 + 4 + 9 + 16 = 30 boxes
RMAC_SCALES = 3  # R-MAC (arXiv 1511.05879), section 4.2: L = 3
RMAC_OVERLAP = 0.4  # there: neighbouring regions overlap by 40 %, as nearly as whole numbers allow


class RegionSource(Protocol):
    """Finds the regions of images.

    Attributes
    ----------
    name : its name, such as one of REGION_SOURCES.
    """

    @property
    def name(self) -> str:
        """Its name in a manifest."""

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

        None if that cannot be written down, as for a network that is a Python object.
        """


class DetectedRegions:
    """The kept regions of a detector's trees, at one or several scales of the image.

    An image in which the detector keeps nothing gets its whole area, at level 0.

    Attributes
    ----------
    detector : the detector, at its own scale.
    scales : at which it looks at images, ascending.
    with_dummies : whether dummies are regions too.
    max_regions : how many it gives per image at most; None for all.
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
        self.max_regions = checked_most(max_regions)
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

    @property
    def workers(self) -> int:
        """How many calls at once make the best of the machine."""
        return self.detector.workers

    def calibrate(self, photos: Sequence[Any]) -> None:
        """Calibrate a backbone of int8 on some photos, as `Detector.calibrate`."""
        self.detector.calibrate(photos)

    def detections(self, images: Sequence[Any]) -> list[list[Detection]]:
        """Return the detections of each image, one per scale."""
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
        """Make an image's regions from its detections, one per scale."""
        joined = join_scales(found, self.scales, with_dummies=self.with_dummies)
        return _thinned(joined, self.max_regions)

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
            **backbone.running(),
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
            **self.detector.backbone.runner.choice._asdict(),
        }


class BoxRegions:
    """Boxes that depend only on an image's size: `grid`, `full` and `rmac`.

    `grid` is 1x1 to 4x4 cells, 30 boxes; `full` the whole image; `rmac` R-MAC's squares at three
    scales, about 20 boxes.
    """

    def __init__(self, name: str, max_regions: int | None = MAX_REGIONS) -> None:
        """Choose one of them by its name."""
        self.name = name
        self.max_regions = checked_most(max_regions)
        self._boxes = _BOXES[name]

    def __call__(self, images: Sequence[Any]) -> list[Regions]:
        """Return the boxes of each image, as `RegionSource`."""
        sizes = [as_image(image).size for image in images]
        return [_thinned(self._boxes((height, width)), self.max_regions) for width, height in sizes]

    def manifest(self) -> dict[str, Any]:
        """Return the name, and how many there are at most."""
        return {"name": self.name, "max_regions": self.max_regions}

    def recipe(self) -> dict[str, Any]:
        """Return the same."""
        return {"recipe": "boxes", "version": 1, **self.manifest()}


def _thinned(regions: Regions, most: int | None) -> Regions:
    if most is None or len(regions) <= most:
        return regions
    return regions.take(thin(regions.boxes, most))


def region_source(
    name: str = "detect",
    detector: Detector | None = None,
    scales: Sequence[float] | None = None,
    *,
    with_dummies: bool = False,
    max_regions: int | None = MAX_REGIONS,
    file: str | os.PathLike[str] | None = None,
    images_json: str | os.PathLike[str] | None = None,
    min_score: float | None = None,
    masks: bool = False,
) -> RegionSource:
    """Return what finds regions.

    Parameters
    ----------
    name : "detect", "grid", "full", "rmac", or "file": regions that another detector found.
    detector : for "detect".
    scales : of the image at which the detector looks, for "detect"; None for the detector's own.
        The regions of several are joined: one whose box has an IoU of 0.8 with a box of a larger
        scale is left out.
    with_dummies : whether the detector's dummies are regions too (paper, Table VI).
    max_regions : how many regions per image there are at most; the most overlapping ones are
        dropped first (`claid_ext.regions.thinning`); None for all.
    file : for "file": COCO results, a COCO data set, or a folder of one JSON file per photo.
    images_json : for "file": the COCO JSON whose `images` say which photo an image_id is; None
        where `file` itself says it.
    min_score : for "file": regions of a lower score are left out; None for none.
    masks : for "file": whether its segmentations are read too, as the pooling "mask" and IoU of
        masks need.

    Raises
    ------
    FileNotFoundError : no such file.
    ValueError : an unknown name; "detect" without a detector, "file" without a file; no scales, or
        some out of range; what is for one of them with another name; a file that is no COCO JSON.
    """
    if (name == "file") != (file is not None):
        raise ValueError(
            f'regions="file" needs a file, and only it takes one: got regions={name!r}, '
            f"file={file!r}"
        )
    if name != "file" and (images_json is not None or min_score is not None or masks):
        raise ValueError(
            f'images_json, min_score and masks are for regions="file", got regions={name!r}'
        )
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
    if file is not None:
        return FileRegions(
            file, images_json, min_score=min_score, masks=masks, max_regions=max_regions
        )
    return BoxRegions(name, max_regions)


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

    At l = 1, their number along the longer side is that for which neighbours overlap by nearest to
    40 %; each further scale has one more along both sides.
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
