"""`Regions`: the regions of one image, from any source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["Regions", "detections"]


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of one image. R is their number.

    Attributes
    ----------
    image_size : (height, width) of the image in pixels.
    boxes : float32 (R, 4), [x0, y0, x1, y1) in the image's pixels.
    level : int32 (R,), depth in the region tree, or a rival's scale; 0 is the whole image.
    size : float32 (R,), area in the image's pixels: of the mask if there is one, else of the box.
    connectivity, dominance : float32 (R,), of the tree (paper, Eq. 9 and 10); NaN for rivals.
    masks : bool (R, h, w), each region's patches on the grid; None where there are only boxes.
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
        """Make regions that are only boxes.

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

    @classmethod
    def whole(cls, image_size: tuple[int, int]) -> Regions:
        """Make a single region, the whole image, at level 0."""
        height, width = image_size
        return cls.of_boxes(image_size, [[0, 0, width, height]])

    def take(self, chosen: NDArray[Any]) -> Regions:
        """Return some of the regions.

        Parameters
        ----------
        chosen : bool (R,), or ints: which regions, in this order.
        """
        return replace(
            self,
            boxes=self.boxes[chosen],
            level=self.level[chosen],
            size=self.size[chosen],
            connectivity=self.connectivity[chosen],
            dominance=self.dominance[chosen],
            masks=None if self.masks is None else self.masks[chosen],
        )

    def without_pixels(self) -> Regions:
        """Return the same without masks and tokens: what an index keeps."""
        return replace(self, masks=None, covered=None, tokens=None)

    def pixel_masks(self) -> NDArray[np.bool_]:
        """Return masks of pixels, bool (R, height, width): a pixel is inside if its centre is.

        Regions that are only boxes are filled.
        """
        height, width = self.image_size
        y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
        if self.masks is None or self.covered is None:
            x0, y0, x1, y1 = (side[:, None] for side in self.boxes.T)
            rows_in, columns_in = (y0 <= y) & (y < y1), (x0 <= x) & (x < x1)
            boxed: NDArray[np.bool_] = rows_in[:, :, None] & columns_in[:, None, :]
            return boxed
        rows, columns = self.masks.shape[1:]
        row = np.floor(y * rows / self.covered[0]).astype(np.int64)
        column = np.floor(x * columns / self.covered[1]).astype(np.int64)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        taken = self.masks[:, np.minimum(row, rows - 1)][:, :, np.minimum(column, columns - 1)]
        masks: NDArray[np.bool_] = taken & inside
        return masks

    def to_supervision(self) -> Any:
        """Return them as `supervision.Detections`, whose package must be installed.

        `xyxy` (R, 4) float32; `mask` bool (R, height, width), None where there are only boxes;
        `class_id` all 0, since regions have no class; no `confidence`; and in `data` the arrays
        (R,) "level", "size", "connectivity" and "dominance".
        """
        return detections(
            self.boxes,
            mask=None if self.masks is None else self.pixel_masks(),
            data={
                name: getattr(self, name).copy()
                for name in ("level", "size", "connectivity", "dominance")
            },
        )


def detections(
    boxes: NDArray[np.float32],
    *,
    mask: NDArray[np.bool_] | None = None,
    confidence: NDArray[np.float32] | None = None,
    data: Any,
) -> Any:
    """Return `supervision.Detections` of boxes (n, 4), all of class 0; `data` is (n,) by name."""
    try:
        import supervision
    except ImportError as error:
        raise ImportError("this needs supervision: pip install supervision") from error
    return supervision.Detections(
        xyxy=boxes.astype(np.float32),
        mask=mask,
        confidence=confidence,
        class_id=np.zeros(len(boxes), int),
        data=data,
    )
