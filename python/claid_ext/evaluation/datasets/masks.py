"""COCO's three ways to write a mask: polygons, run lengths, packed run lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["decode_segmentation"]

BoolArray = npt.NDArray[np.bool_]


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> BoolArray:
    """One mask, bool (height, width), of polygons or of run lengths, packed or not.

    Plain run lengths ({"size": [h, w], "counts": [...]}, down the columns, zeros first) are read
    here; polygons and packed run lengths as pycocotools reads them, which has to be installed.
    """
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list):
        runs = np.asarray(segmentation["counts"], dtype=np.int64)
        if tuple(segmentation.get("size", ())) != tuple(size) or runs.sum() != size[0] * size[1]:
            raise ValueError(
                f"run lengths: wanted {size[0]} x {size[1]} pixels, got size "
                f"{segmentation.get('size')} and {runs.sum()} pixels"
            )
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return np.ascontiguousarray(inside.reshape(size, order="F"))
    try:
        from pycocotools import mask as coco_mask
    except ImportError:
        raise ImportError(
            "masks as polygons or packed run lengths need pycocotools: pip install pycocotools"
        ) from None
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    decoded: BoolArray = np.asarray(coco_mask.decode(segmentation), dtype=bool)
    return decoded
