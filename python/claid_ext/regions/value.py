"""`Regions`: the regions of one image, wherever they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["Regions"]


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of one image. R is their number.

    Attributes
    ----------
    image_size : (height, width) of the image in pixels.
    boxes : float32 (R, 4), [x0, y0, x1, y1) in the image's pixels.
    level : int32 (R,), depth in the region tree; for rivals their scale; 0 is the whole image.
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

    @classmethod
    def whole(cls, image_size: tuple[int, int]) -> Regions:
        """Make the one region that is the whole image, at level 0."""
        height, width = image_size
        return cls.of_boxes(image_size, [[0, 0, width, height]])

    def take(self, chosen: NDArray[Any]) -> Regions:
        """Return some of the regions.

        Parameters
        ----------
        chosen : bool (R,), or ints: which regions, in which order.
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
