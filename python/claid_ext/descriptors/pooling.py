"""One vector a region from a feature map: RoI-align to a grid of bins, then pool the bins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from claid_ext.choices import POOLINGS

__all__ = ["POOLINGS", "FeatureMap", "cell_cover", "pool_regions"]

ROI_BINS = 7  # a side, as detectors use it (Mask R-CNN, arXiv 1703.06870)
ROI_SAMPLES = 2  # a side of each bin, likewise
CELLS = 3  # a side
CELL_SAMPLES = 4  # a side of each
GEM_POWER = 3.0  # arXiv 1711.02512, and the authors' code
GEM_FLOOR = 1e-6  # GeM's own clamp: a root of a mean of powers needs positive values
_MASKED_AT_ONCE = 1 << 24  # values of the masked maps held at once, 64 MiB


class FeatureMap(NamedTuple):
    """A network's features of one image.

    `values` is float32 (C, h, w); `extent` the (height, width) in the image's pixels, from its top
    left corner, that the h x w cells cover: it is larger than the image where that was padded.
    """

    values: Tensor
    extent: tuple[float, float]


def pool_regions(
    features: FeatureMap,
    boxes: NDArray[np.float32],
    masks: NDArray[np.bool_] | None,
    covered: tuple[float, float] | None,
    pooling: str,
) -> Tensor:
    """Pool a feature map over regions.

    RoI-align brings each box to 7 x 7 bins of 2 x 2 samples. `mean`, `max` and `gem` (the cubic
    mean of values clamped to be positive) pool the bins. `mask` takes the mean under the weights of
    the region's patches: the bins of feature x mask, summed, over the bins of mask, summed. `cells`
    is RoI-align to 3 x 3 bins of 4 x 4 samples, each brought to length 1, row by row.

    Parameters
    ----------
    features : the map.
    boxes : (R, 4), [x0, y0, x1, y1) in the image's pixels.
    masks : bool (R, H, W) of patches, or None: then `mask` is `mean`.
    covered : (height, width) in the image's pixels that the masks' grid covers; None with no masks.
    pooling : one of POOLINGS but "whitened", which needs a basis (`claid_ext.descriptors.maps`).

    Returns
    -------
    float32 (R, C), or (R, 9 C) for `cells`; not normalised.
    """
    values = features.values
    channels, height, width = values.shape
    if len(boxes) == 0:
        return values.new_zeros((0, channels * (CELLS**2 if pooling == "cells" else 1)))
    # RoI-align takes one scale for both axes; boxes brought to cells here may have two.
    y, x = height / features.extent[0], width / features.extent[1]
    cells = torch.from_numpy(np.array(boxes, np.float32)) * torch.tensor([x, y, x, y])
    cells = cells.to(values.device)
    if pooling == "mask" and masks is not None:
        if covered is None:
            raise ValueError("masks need `covered`, what part of the image their grid covers")
        cover = torch.as_tensor(cell_cover(masks, covered, (height, width), features.extent))
        return _pool_masked(values, cells, cover.to(values.device))
    if pooling == "cells":
        parts = _roi_bins(values[None], [cells], CELLS, CELL_SAMPLES)
        return nn.functional.normalize(parts).permute(0, 2, 3, 1).flatten(1)
    bins = _roi_bins(values[None], [cells])
    if pooling == "max":
        return bins.amax(dim=(2, 3))
    if pooling == "gem":
        return bins.clamp(min=GEM_FLOOR).pow(GEM_POWER).mean(dim=(2, 3)).pow(1 / GEM_POWER)
    return bins.mean(dim=(2, 3))


def _roi_bins(
    values: Tensor, boxes: list[Tensor], side: int = ROI_BINS, samples: int = ROI_SAMPLES
) -> Tensor:
    """Bins of the boxes, one tensor of them a map; (sum of R, C, side, side)."""
    from torchvision.ops import roi_align

    bins: Tensor = roi_align(
        values, boxes, side, spatial_scale=1.0, sampling_ratio=samples, aligned=True
    )
    return bins


def _pool_masked(values: Tensor, boxes: Tensor, cover: Tensor) -> Tensor:
    pooled = []
    # One map a region: the masked features, and the mask itself as the last channel.
    at_once = max(1, _MASKED_AT_ONCE // (values.numel() + cover[0].numel()))
    for some, of_these in zip(
        torch.split(cover, at_once), torch.split(boxes, at_once), strict=True
    ):
        masked = torch.cat([values * some[:, None], some[:, None]], dim=1)
        sums = _roi_bins(masked, list(of_these[:, None])).sum(dim=(2, 3))
        weight = sums[:, -1:]
        # A mask no sample hits: the patch is far below a cell, which then is all there is to see.
        plain = _roi_bins(values[None], [of_these]).mean(dim=(2, 3))
        tiny = torch.finfo(weight.dtype).eps
        pooled.append(torch.where(weight > tiny, sums[:, :-1] / weight.clamp(min=tiny), plain))
    return torch.cat(pooled)


def cell_cover(
    masks: NDArray[np.bool_],
    covered: tuple[float, float],
    cells: tuple[int, int],
    extent: tuple[float, float],
) -> NDArray[np.float32]:
    """Share of each cell of a feature map that each mask covers, exactly, by area.

    Parameters
    ----------
    masks : bool (R, H, W) over patches.
    covered : (height, width) in pixels that the H x W patches cover.
    cells : (h, w) of the feature map.
    extent : (height, width) in pixels that the h x w cells cover.

    Returns
    -------
    float32 (R, h, w), 0 to 1. Cells beyond `covered` get 0.
    """
    rows = _overlap(masks.shape[1], covered[0], cells[0], extent[0])
    columns = _overlap(masks.shape[2], covered[1], cells[1], extent[1])
    cover: NDArray[np.float32] = (rows @ masks.astype(np.float32)) @ columns.T
    return cover


def _overlap(patches: int, covered: float, cells: int, extent: float) -> NDArray[np.float32]:
    """Share of each cell along one axis that lies in each patch: float32 (cells, patches)."""
    patch = np.arange(patches + 1) * (covered / patches)
    cell = np.arange(cells + 1) * (extent / cells)
    first = np.maximum(cell[:-1, None], patch[None, :-1])
    last = np.minimum(cell[1:, None], patch[None, 1:])
    share: NDArray[np.float32] = np.clip(last - first, 0, None).astype(np.float32)
    return share / np.float32(extent / cells)
