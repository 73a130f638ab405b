"""`FileRegions`: regions that somebody else's detector found, as `RegionSource`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from claid_ext._coco import decode_segmentation
from claid_ext.choices import MAX_REGIONS
from claid_ext.errors import IndexMismatchError
from claid_ext.images import read_photo
from claid_ext.regions.coco_json import FoundRegion, ListedPhoto, RegionFile
from claid_ext.regions.thinning import checked_most, thin
from claid_ext.regions.value import Regions

if TYPE_CHECKING:
    import os

    from claid_ext.images import Photo

__all__ = ["FileRegions"]

MASK_SIDE = 256  # patches along a photo's longer side, at most: 36 masks take under 3 MB


class FileRegions:
    """Regions from COCO JSON, such as the results of CutLER, Segment Anything or detectron2.

    `claid_ext.regions.coco_json` says what is read. A photo is found by its path, whose last parts
    must be those of the `file_name`: both `1.jpg` and `val2017/1.jpg` name `/photos/val2017/1.jpg`,
    and the longer one wins. Regions come by descending score; those without area are left out. A
    photo without any gets its whole area, at level 0.

    Attributes
    ----------
    file, images_json : absolute paths; the second None for none.
    min_score : regions of a lower score are left out; None for none.
    masks : whether regions have masks.
    max_regions : how many it gives per photo at most; None for all.
    fingerprint : SHA-256 of what was read.
    """

    name = "file"

    def __init__(
        self,
        file: str | os.PathLike[str],
        images_json: str | os.PathLike[str] | None = None,
        *,
        min_score: float | None = None,
        masks: bool = False,
        max_regions: int | None = MAX_REGIONS,
        sha256: str | None = None,
    ) -> None:
        """Read and check the whole file; see `claid_ext.regions.region_source`.

        Raises
        ------
        IndexMismatchError : its content is not that of the fingerprint `sha256`, if one is given.
        """
        self.file = Path(file).absolute()
        self.images_json = None if images_json is None else Path(images_json).absolute()
        self.min_score = None if min_score is None else float(min_score)
        self.masks = masks
        self.max_regions = checked_most(max_regions)
        self._content = RegionFile(self.file, self.images_json)
        self.fingerprint = self._content.fingerprint
        if sha256 not in {None, self.fingerprint}:
            raise IndexMismatchError(
                f"{self.file} has changed since regions were taken from it: give the file anew "
                "(--regions file --regions-file FILE) to take regions from what it says now"
            )

    def __call__(self, images: Sequence[Any]) -> list[Regions]:
        """Return the regions of each image, as `RegionSource`.

        Raises
        ------
        ValueError : an image from memory, one that the file does not list or lists with another
            size; a box that is outside of its photo; a region without the score or mask that is
            asked for.
        """
        return [self._of_photo(read_photo(image)) for image in images]

    def manifest(self) -> dict[str, Any]:
        """Return the options.

        Not the content of the file, so that an index can grow by the results for more photos.
        """
        return {
            "name": self.name,
            "min_score": self.min_score,
            "masks": self.masks,
            "max_regions": self.max_regions,
        }

    def recipe(self) -> dict[str, Any]:
        """Return how to make it again: of these very files, whose content must be the same."""
        return {
            "recipe": "file",
            "version": 1,
            "file": str(self.file),
            "images_json": None if self.images_json is None else str(self.images_json),
            "sha256": self.fingerprint,
            "min_score": self.min_score,
            "masks": self.masks,
            "max_regions": self.max_regions,
        }

    def _of_photo(self, photo: Photo) -> Regions:
        if photo.path is None:
            raise ValueError("regions from a file need the name of an image: one is from memory")
        listed = self._content.find(photo.path)
        self._check_size(photo, listed)
        height, width = photo.size
        found = self._wanted(listed)
        corners = np.array([one.box for one in found], np.float64).reshape(-1, 4)
        boxes = np.clip(corners, 0, [width, height, width, height]).astype(np.float32)
        for one in found:
            x0, y0, x1, y1 = one.box
            if (x0 > width or y0 > height or x1 < 0 or y1 < 0) and x0 < x1 and y0 < y1:
                raise ValueError(
                    f"{photo.path}: {one.where}: the box {one.box} is outside the photo of "
                    f"{width} x {height} pixels: were regions found on it at another size?"
                )
        order = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        if self.max_regions is not None and len(order) > self.max_regions:
            order = order[thin(boxes[order], self.max_regions)]
        if len(order) == 0:
            return Regions.whole(photo.size)
        made = Regions.of_boxes(photo.size, boxes[order], 1)
        chosen = [found[i] for i in order.tolist()]
        areas = np.array([np.inf if one.area is None else one.area for one in chosen], np.float32)
        made = replace(made, size=np.where(areas > 0, np.minimum(areas, made.size), made.size))
        return _with_masks(made, chosen) if self.masks else made

    def _wanted(self, listed: ListedPhoto) -> list[FoundRegion]:
        """Return a photo's regions of score enough, best first."""
        found = listed.regions
        if self.min_score is not None:
            least = self.min_score
            if without := [one for one in found if one.score is None]:
                raise ValueError(f"{without[0].where}: min_score is {least}, but it has no score")
            found = [one for one in found if one.score is not None and one.score >= least]
        return sorted(found, key=lambda one: -(one.score or 0.0))

    @staticmethod
    def _check_size(photo: Photo, listed: ListedPhoto) -> None:
        if listed.size is None or listed.size == photo.size:
            return
        height, width = photo.size
        turned = " upright, as its EXIF says" if listed.size == (width, height) else ""
        raise ValueError(
            f"{photo.path}: {listed.where} says {listed.size[1]} x {listed.size[0]} pixels, the "
            f"photo has {width} x {height}{turned}"
        )


def _with_masks(made: Regions, found: Sequence[FoundRegion]) -> Regions:
    """Add masks to regions: a patch is inside if the pixel at its centre is."""
    size = made.image_size
    side = math.ceil(max(size) / MASK_SIDE)
    grid = tuple(math.ceil(pixels / side) for pixels in size)
    rows, columns = (
        np.minimum(np.arange(count) * side + side // 2, pixels - 1)
        for count, pixels in zip(grid, size, strict=True)
    )
    masks = np.zeros((len(made), *grid), bool)
    for mask, box, one in zip(masks, made.boxes, found, strict=True):
        if one.segmentation is None:
            raise ValueError(f"{one.where}: masks are wanted, but it has no segmentation")
        try:
            pixels = decode_segmentation(one.segmentation, size)
        except ValueError as error:
            raise ValueError(f"{one.where}: segmentation: {error}") from None
        mask[:] = pixels[rows][:, columns]
        if not mask.any():  # too small for any centre: the patch that it, or its box, begins in
            y, x = np.argwhere(pixels)[0] if pixels.any() else box[1::-1].astype(int)
            mask[y // side, x // side] = True
    return replace(made, masks=masks, covered=(float(grid[0] * side), float(grid[1] * side)))
