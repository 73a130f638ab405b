"""What every loader returns: images to search in and queries, or images and their objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from claid_ext._coco import decode_segmentation
from claid_ext.overlap import box_area, box_iou, check_boxes

__all__ = ["DetectionImage", "DetectionSet", "SearchQuery", "SearchSet"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SearchQuery:
    """One thing to find.

    image: an image that shows it. boxes: float64 (b, 4) in that image's pixels, b views of the
    one thing; None for the whole image.
    positives: int64 (p,), ascending numbers into `SearchSet.images` of what should be found.
    junk: int64 (j,), ascending, images that count neither way (the query's own, for one).
    truths: for each positive the boxes (t, 4) of the thing in it, in its pixels; a returned box
    is measured against the best of them. None where the set does not say where things are.
    """

    name: str
    image: Path
    boxes: FloatArray | None
    positives: IntArray
    junk: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    truths: tuple[FloatArray, ...] | None = None

    def __post_init__(self) -> None:
        """Check what no loader should get wrong."""
        if self.truths is not None and len(self.truths) != len(self.positives):
            raise ValueError(
                f"query {self.name}: truths: wanted one for each of {len(self.positives)} "
                f"positives, got {len(self.truths)}"
            )
        if len(np.intersect1d(self.positives, self.junk)):
            raise ValueError(f"query {self.name}: an image is both a positive and junk")

    def overlaps(self, images: Sequence[int] | IntArray, boxes: npt.ArrayLike) -> FloatArray:
        """IoU of a box returned for each image with the truth there, 0 where there is none.

        images: numbers (n,) into the set's images; boxes: (n, 4) in their pixels. Returns float64
        (n,). Raises ValueError if the set has no truth boxes.
        """
        if self.truths is None:
            raise ValueError(f"query {self.name}: this set does not say where things are")
        where = {
            int(image): truth for image, truth in zip(self.positives, self.truths, strict=True)
        }
        returned = check_boxes(boxes)
        result = np.zeros(len(images))
        for row, image in enumerate(images):
            truth = where.get(int(image))
            if truth is not None and len(truth):
                result[row] = box_iou(returned[row], truth).max()
        return result


@dataclass(frozen=True, eq=False)
class SearchSet:
    """Images to search in and the queries to search with. Images are named by their place here."""

    name: str
    images: tuple[Path, ...]
    queries: tuple[SearchQuery, ...]

    def __post_init__(self) -> None:
        """Check that every image named is one of the set, and named once."""
        if len(set(self.images)) != len(self.images):
            raise ValueError(f"{self.name}: an image is in the database twice")
        for query in self.queries:
            for what in ("positives", "junk"):
                numbers = getattr(query, what)
                if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(self.images):
                    raise ValueError(
                        f"{self.name}: query {query.name}: {what} names image "
                        f"{numbers.max() if numbers.min() >= 0 else numbers.min()} of "
                        f"{len(self.images)}"
                    )

    @property
    def localised(self) -> bool:
        """Whether the set says where the things are, so that boxes can be judged."""
        return bool(self.queries) and all(query.truths is not None for query in self.queries)

    def check_files(self) -> None:
        """Raise FileNotFoundError, with the count and the first few, if images are missing."""
        wanted = dict.fromkeys([*self.images, *(query.image for query in self.queries)])
        _require(self.name, wanted)


@dataclass(frozen=True, eq=False)
class DetectionImage:
    """One image and the objects in it.

    size: (height, width). boxes: float64 (n, 4) in pixels. crowd: bool (n,), objects that are
    many at once and are not counted. segmentations: n of COCO's polygons or run lengths, or
    None where there are only boxes.
    """

    path: Path
    size: tuple[int, int]
    boxes: FloatArray
    crowd: BoolArray
    segmentations: tuple[Any, ...] | None = None

    @property
    def area_fraction(self) -> FloatArray:
        """The part of the image that each object's box covers, float64 (n,)."""
        return box_area(self.boxes) / (self.size[0] * self.size[1])

    def masks(self) -> BoolArray:
        """The objects as bool (n, height, width). Raises ValueError if there are only boxes."""
        if self.segmentations is None:
            raise ValueError(f"{self.path.name}: this set has boxes but no masks")
        masks = [decode_segmentation(item, self.size) for item in self.segmentations]
        return np.stack(masks) if masks else np.zeros((0, *self.size), dtype=bool)


@dataclass(frozen=True, eq=False)
class DetectionSet:
    """Images with every object in them annotated."""

    name: str
    images: tuple[DetectionImage, ...]

    def check_files(self) -> None:
        """Raise FileNotFoundError, with the count and the first few, if images are missing."""
        _require(self.name, [image.path for image in self.images])


def _require(name: str, paths: Iterable[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        shown = ", ".join(str(path) for path in missing[:3])
        raise FileNotFoundError(
            f"{name}: {len(missing)} image{'s' * (len(missing) > 1)} missing: {shown}"
            f"{', ...' if len(missing) > 3 else ''}"
        )
