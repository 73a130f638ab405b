"""Recall of a detector's regions over a set of pictures (paper, section V-C and Fig. 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from claid_ext.evaluation.datasets import DetectionImage, DetectionSet
from claid_ext.evaluation.recall import RecallCurve, recall
from claid_ext.overlap import box_iou, mask_iou

if TYPE_CHECKING:
    from claid_ext.regions import Regions

__all__ = ["measure_recall", "pixel_masks"]

BATCH = 8

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
    overlap: IoU of the regions' boxes with the objects', or of the masks, both at the image's
    own resolution (a region without a mask is its box). budget: only the first so many regions of
    an image; ours come level by level, as the tree finds them.
    Raises FileNotFoundError if pictures are missing, ValueError if masks are asked of a set of
    boxes or an image has another size than the set says.
    """
    if overlap not in ("box", "mask"):
        raise ValueError(f"overlap: wanted 'box' or 'mask', got {overlap!r}")
    detection_set.check_files()
    return recall(_images(detection_set, source, overlap, show_progress), budget)


def pixel_masks(regions: Regions) -> npt.NDArray[np.bool_]:
    """Regions as masks of pixels, bool (R, height, width): a pixel is in if its centre is."""
    height, width = regions.image_size
    y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
    if regions.masks is None or regions.covered is None:
        x0, y0, x1, y1 = (side[:, None] for side in regions.boxes.T)
        rows_in, columns_in = (y0 <= y) & (y < y1), (x0 <= x) & (x < x1)
        boxed: npt.NDArray[np.bool_] = rows_in[:, :, None] & columns_in[:, None, :]
        return boxed
    rows, columns = regions.masks.shape[1:]
    row = np.floor(y * rows / regions.covered[0]).astype(np.int64)
    column = np.floor(x * columns / regions.covered[1]).astype(np.int64)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    taken = regions.masks[:, np.minimum(row, rows - 1)][:, :, np.minimum(column, columns - 1)]
    masks: npt.NDArray[np.bool_] = taken & inside
    return masks


def _images(
    detection_set: DetectionSet,
    source: Callable[[Sequence[Path]], list[Regions]],
    overlap: Overlap,
    show_progress: bool,
) -> Iterator[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]]:
    from claid_ext.progress import progress

    for image, regions in progress(
        _regions(detection_set.images, source),
        total=len(detection_set.images),
        description=detection_set.name,
        disable=None if show_progress else True,
    ):
        if regions.image_size != image.size:
            raise ValueError(
                f"{image.path}: the ground truth is for {image.size[0]} x {image.size[1]} pixels, "
                f"the picture has {regions.image_size[0]} x {regions.image_size[1]}"
            )
        if overlap == "mask":
            ious = mask_iou(pixel_masks(regions), image.masks())
        else:
            ious = box_iou(regions.boxes, image.boxes)
        yield ious, image.crowd, image.area_fraction


def _regions(
    images: Sequence[DetectionImage], source: Callable[[Sequence[Path]], list[Regions]]
) -> Iterator[tuple[DetectionImage, Regions]]:
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        yield from zip(batch, source([image.path for image in batch]), strict=True)
