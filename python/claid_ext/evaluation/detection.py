"""Recall of the objects of a detection set by regions (paper, section V-C and Fig. 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy.typing as npt

from claid_ext.evaluation.datasets import DetectionImage, DetectionSet
from claid_ext.evaluation.recall import RecallCurve, recall
from claid_ext.overlap import box_iou, mask_iou

if TYPE_CHECKING:
    from claid_ext.regions import Regions

__all__ = ["measure_recall", "recall_of_regions"]

BATCH = 8  # images given to the source at once

Overlap = Literal["box", "mask"]


def measure_recall(
    detection_set: DetectionSet,
    source: Callable[[Sequence[Path]], list[Regions]],
    *,
    overlap: Overlap = "box",
    budget: int | None = None,
    show_progress: bool = False,
) -> RecallCurve:
    """Recall of the objects of a detection set by the regions of `source`.

    source: from `claid_ext.regions.region_source`, or anything that gives Regions for paths.
    overlap, budget: as `recall_of_regions`.
    Raises FileNotFoundError if images are missing, and what `recall_of_regions` raises.
    """
    from claid_ext.progress import progress

    detection_set.check_files()
    found = progress(
        _regions(detection_set.images, source),
        total=len(detection_set.images),
        description=detection_set.name,
        disable=None if show_progress else True,
    )
    return recall_of_regions(found, overlap=overlap, budget=budget)


def recall_of_regions(
    found: Iterable[tuple[DetectionImage, Regions]],
    *,
    overlap: Overlap = "box",
    budget: int | None = None,
) -> RecallCurve:
    """Recall of the objects of images by the regions found in each of them.

    overlap: IoU of the regions' boxes with the objects', or of the masks, both at the image's
    own resolution (a region without a mask counts as its box). budget: how many regions per image
    count, the first ones; ours come in the order of the tree, level by level.
    Raises ValueError if masks are asked of a set of boxes, or if regions are of an image of another
    size than the set says.
    """
    if overlap not in ("box", "mask"):
        raise ValueError(f"overlap: wanted 'box' or 'mask', got {overlap!r}")
    return recall((_overlaps(image, regions, overlap) for image, regions in found), budget)


def _overlaps(
    image: DetectionImage, regions: Regions, overlap: Overlap
) -> tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]:
    if regions.image_size != image.size:
        raise ValueError(
            f"{image.path}: the ground truth is for {image.size[0]} x {image.size[1]} pixels, "
            f"the image has {regions.image_size[0]} x {regions.image_size[1]}"
        )
    if overlap == "mask":
        ious = mask_iou(regions.pixel_masks(), image.masks())
    else:
        ious = box_iou(regions.boxes, image.boxes)
    return ious, image.crowd, image.area_fraction


def _regions(
    images: Sequence[DetectionImage], source: Callable[[Sequence[Path]], list[Regions]]
) -> Iterator[tuple[DetectionImage, Regions]]:
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        yield from zip(batch, source([image.path for image in batch]), strict=True)
