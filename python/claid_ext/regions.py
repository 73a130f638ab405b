"""Which regions of an image get a descriptor: ours, and its rivals behind the same interface."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from claid_ext.detector import Detection, Detector

__all__ = ["REGION_SOURCES", "RegionSource", "Regions", "region_source"]

REGION_SOURCES = ("detect", "grid", "full", "rmac")

GRID_SIDES = (1, 2, 3, 4)  # Patchify (arXiv 2512.12610): 1 + 4 + 9 + 16 = 30 boxes
RMAC_SCALES = 3  # R-MAC (arXiv 1511.05879), section 4.2: L = 3
RMAC_OVERLAP = 0.4  # there: neighbouring regions overlap by 40 %, as nearly as whole numbers allow

SAME_REGION = 0.8  # regions of two scales whose boxes have this IoU are one


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of one image. R is their number.

    Attributes
    ----------
    image_size : (height, width) of the image in pixels.
    boxes : float32 (R, 4), [x0, y0, x1, y1) in the image's pixels.
    level : int32 (R,), depth in its region tree; for rivals their scale; 0 is the whole image.
    size : float32 (R,), area in the image's pixels: of the mask where there is one, else the box.
    connectivity, dominance : float32 (R,), of the tree (paper, Eq. 9 and 10); NaN for rivals.
    masks : bool (R, h, w), each region's patches on the grid; None where there are boxes alone.
    covered : (height, width) in pixels, from the top left corner, that this grid covers, or None.
    tokens : the detector's own features, a float (h', w', D) torch tensor, and the (height, width)
        in pixels that it covers; or None.
    """

    image_size: tuple[int, int]
    boxes: NDArray[np.float32]
    level: NDArray[np.int32]
    size: NDArray[np.float32]
    connectivity: NDArray[np.float32]
    dominance: NDArray[np.float32]
    masks: NDArray[np.bool_] | None = None
    covered: tuple[float, float] | None = None
    tokens: tuple[torch.Tensor, tuple[float, float]] | None = None

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self.boxes)

    @classmethod
    def of_boxes(cls, image_size: tuple[int, int], boxes: Any, level: Any = 0) -> Regions:
        """Make regions of boxes alone.

        Parameters
        ----------
        image_size : (height, width) in pixels.
        boxes : (R, 4) numbers, [x0, y0, x1, y1) in pixels.
        level : int, or (R,) ints.
        """
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        unknown = np.full(len(boxes), np.nan, np.float32)
        return cls(
            image_size=image_size,
            boxes=boxes,
            level=np.broadcast_to(np.asarray(level, np.int32), len(boxes)).copy(),
            size=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            connectivity=unknown,
            dominance=unknown,
        )


class RegionSource:
    """Regions for images. Made by `region_source`; call it with a list of images.

    `detect` gives the region tree's non-dummies, of several scales where they are asked for, and
    the whole image (level 0) where there are none, so that every image can be found; `grid` 1x1 to
    4x4 cells, 30 boxes; `full` the whole image; `rmac` R-MAC's squares at three scales, about 20
    boxes.
    """

    def __init__(
        self, name: str, detector: Detector | None = None, scales: Sequence[float] | None = None
    ) -> None:
        """Check the arguments; see `region_source`."""
        if name not in REGION_SOURCES:
            raise ValueError(f"regions must be one of {', '.join(REGION_SOURCES)}, got {name!r}")
        if (name == "detect") != (detector is not None):
            raise ValueError(
                'regions="detect" needs a Detector, and only it takes one: '
                f"got regions={name!r}, detector={detector!r}"
            )
        self.name = name
        self.detector = detector
        self.scales: tuple[float, ...] = ()
        self._detectors: list[Detector] = []
        if detector is not None:
            given = [detector.scale] if scales is None else scales
            self.scales = tuple(sorted({float(scale) for scale in given}))
            self._detectors = [
                detector if scale == detector.scale else detector.at(scale) for scale in self.scales
            ]
        if bool(self._detectors) != (name == "detect" or scales is not None):
            raise ValueError(
                'scales must be one or more numbers for regions="detect", and None for others: '
                f"got scales={scales!r}, regions={name!r}"
            )

    def __call__(self, images: Sequence[Any]) -> list[Regions]:
        """Return the regions of each image.

        Parameters
        ----------
        images : paths, PIL images or uint8 arrays (height, width, 3), as `Detector` takes.

        Raises
        ------
        UnreadableImageError : a path that is no readable image.
        """
        from claid_ext.images import as_image

        if len(self._detectors) == 1:
            return [_join([found], self.scales) for found in self._detectors[0](list(images))]
        upright = [as_image(image) for image in images]
        if self._detectors:
            scales = zip(*(detector(upright) for detector in self._detectors), strict=True)
            return [_join(found, self.scales) for found in scales]
        sizes = [image.size for image in upright]
        return [_RIVALS[self.name]((height, width)) for width, height in sizes]

    def manifest(self) -> dict[str, Any]:
        """Return what an index must know to make the same regions again, ready for JSON."""
        if self.detector is None:
            return {"regions": self.name}
        options = {
            f"{detector.scale:g}": {
                k: v for k, v in detector.detect_options.items() if k != "threads"
            }
            for detector in self._detectors
        }
        backbone = self.detector.backbone
        return {
            "regions": self.name,
            "detector": {
                "backbone": backbone.name,
                "weights": backbone.fingerprint,
                "scales": json.loads(json.dumps(options, default=str)),
            },
        }

    def recipe(self) -> dict[str, Any] | None:
        """Return the arguments that make the detector again; None without one, or of a module."""
        backbone = self.detector.backbone.recipe() if self.detector else None
        return {**backbone, **self.detector.given_options} if self.detector and backbone else None


def region_source(
    name: str = "detect", detector: Detector | None = None, scales: Sequence[float] | None = None
) -> RegionSource:
    """Return what makes regions.

    Parameters
    ----------
    name : "detect", "grid", "full" or "rmac".
    detector : for "detect".
    scales : of the detector, for "detect"; None for the detector's own. The regions of several
        are joined: one whose box has an IoU of 0.8 with a box of a larger scale is left out.

    Raises
    ------
    ValueError : another name, or "detect" without a detector; scales that are none or out of range;
        a detector or scales with another name.
    """
    return RegionSource(name, detector, scales)


def _join(found: Sequence[Detection], scales: Sequence[float]) -> Regions:
    """Make one image's regions of its detections, one for each of the ascending scales."""
    parts = [_of_detection(one) for one in found]
    joined = parts[-1]
    for part in parts[-2::-1]:
        joined = _add_unlike(joined, part)
    if len(joined) == 0:
        joined = replace(_full(joined.image_size), covered=joined.covered)
    # A query's tokens are made at scale 1.
    at_one = (part.tokens for part, scale in zip(parts, scales, strict=True) if scale == 1)
    return replace(joined, tokens=next(at_one, None))


def _add_unlike(fine: Regions, coarse: Regions) -> Regions:
    """Add those regions of a smaller scale that a larger one has not; masks on its finer grid."""
    import torch
    from torchvision.ops import box_iou

    assert fine.masks is not None
    assert fine.covered is not None
    assert coarse.masks is not None
    assert coarse.covered is not None
    unlike = np.ones(len(coarse), np.bool_)
    if len(fine):
        overlap = box_iou(torch.from_numpy(coarse.boxes), torch.from_numpy(fine.boxes))
        unlike = (overlap < SAME_REGION).all(dim=1).numpy()
    grids = zip(
        fine.masks.shape[1:], fine.covered, coarse.masks.shape[1:], coarse.covered, strict=True
    )
    rows, columns = (_nearest_patches(*axis) for axis in grids)
    return replace(
        fine,
        boxes=np.concatenate([fine.boxes, coarse.boxes[unlike]]),
        level=np.concatenate([fine.level, coarse.level[unlike]]),
        size=np.concatenate([fine.size, coarse.size[unlike]]),
        connectivity=np.concatenate([fine.connectivity, coarse.connectivity[unlike]]),
        dominance=np.concatenate([fine.dominance, coarse.dominance[unlike]]),
        masks=np.concatenate([fine.masks, coarse.masks[unlike][:, rows][:, :, columns]]),
    )


def _nearest_patches(
    patches: int, covered: float, coarse_patches: int, coarse_covered: float
) -> NDArray[np.int64]:
    """In which coarse patch each patch's centre lies, along one axis; int64 (patches,)."""
    centre = (np.arange(patches) + 0.5) * (covered / patches)
    nearest = (centre * (coarse_patches / coarse_covered)).astype(np.int64)
    return np.minimum(nearest, coarse_patches - 1)


def _of_detection(found: Detection) -> Regions:
    """Make regions of a detection: the kept ones, so there may be none."""
    tree, kept = found.tree, found.kept
    height, width = tree.grid
    patch_area = found.covered[0] / height * found.covered[1] / width
    tokens = None
    if found.features is not None:
        tokens = (found.features.reshape(height, width, -1), found.covered)
    return Regions(
        image_size=found.image_size,
        boxes=found.boxes[kept].astype(np.float32),
        level=tree.level[kept],
        size=(tree.size[kept] * patch_area).astype(np.float32),
        connectivity=tree.connectivity[kept].astype(np.float32),
        dominance=tree.dominance[kept].astype(np.float32),
        masks=tree.masks(kept),
        covered=found.covered,
        tokens=tokens,
    )


def _full(image_size: tuple[int, int]) -> Regions:
    height, width = image_size
    return Regions.of_boxes(image_size, [[0, 0, width, height]])


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


_RIVALS = {"grid": _grid, "full": _full, "rmac": _rmac}
