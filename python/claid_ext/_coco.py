"""COCO's masks: patch masks to run lengths without ever making pixels, and back from any form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_runs", "decode_segmentation", "encode_runs", "mask_runs"]


def mask_runs(
    mask: NDArray[np.bool_],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    image_size: tuple[int, int],
) -> NDArray[np.int64]:
    """Return the run lengths of a patch mask drawn on an image, zeros first, column by column.

    Parameters
    ----------
    mask : bool (H, W), over patches.
    rows, columns : int64 (H + 1,) and (W + 1,), the first pixel of each patch, ascending; what lies
        before the first or after the last is outside the mask.
    image_size : (height, width) in pixels.

    Returns
    -------
    int64 (runs,): COCO's uncompressed RLE, adding up to height * width.
    """
    height, width = image_size
    patch_rows, patch_columns = mask.shape
    framed = np.zeros((patch_columns, patch_rows + 2), bool)
    framed[:, 1:-1] = mask.T
    flips = framed[:, 1:] != framed[:, :-1]  # (W, H + 1): the mask changes at this patch edge
    column_of = np.repeat(np.arange(patch_columns), np.diff(columns))
    x, edge = np.nonzero(flips[column_of])
    position, times = np.unique((x + columns[0]) * height + rows[edge], return_counts=True)
    # Two changes at one pixel undo each other: a patch without pixels, or a run over two columns.
    starts = position[times % 2 == 1]
    runs: NDArray[np.int64] = np.diff(starts, prepend=0, append=height * width)
    return runs if len(runs) == 1 or runs[-1] else runs[:-1]


def encode_runs(runs: NDArray[np.int64]) -> str:
    """Return run lengths (runs,) as COCO's compressed string, as pycocotools reads and writes it.

    From the fourth run on, the difference to the last run but one is stored; each number as groups
    of 5 bits, lowest first, a sixth bit saying that more follow, the last group's top bit being the
    sign; and 48 added to each group makes it a printable character.
    """
    numbers = runs.copy()
    numbers[3:] -= runs[1:-2]
    shift = 5 * np.arange(13)  # 13 groups hold 64 bits
    rest = numbers[:, None] >> shift
    groups = rest & 31
    following = rest >> 5
    more = following != np.where(groups & 16, -1, 0)
    written = np.ones_like(more)
    written[:, 1:] = more[:, :-1]
    return bytes((groups + 32 * more + 48)[written].astype(np.uint8)).decode("ascii")


def decode_runs(packed: str | bytes) -> NDArray[np.int64]:
    """Return the run lengths (runs,) of COCO's compressed string: what `encode_runs` undoes.

    Raises
    ------
    ValueError : characters that are none of COCO's, or a number that is cut short.
    """
    try:
        letters = packed.encode("ascii") if isinstance(packed, str) else packed
        groups = np.frombuffer(letters, np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        groups = np.full(1, -1, np.int64)
    if len(groups) == 0:
        return np.zeros(0, np.int64)
    if groups.min() < 0 or groups.max() >= 64 or groups[-1] & 32:
        raise ValueError(f"run lengths: wanted COCO's packed string, got {packed[:40]!r}")
    first = np.concatenate([[True], (groups[:-1] & 32) == 0])
    start = np.flatnonzero(first)
    place = np.arange(len(groups)) - start[np.cumsum(first) - 1]
    if place.max() >= 12:  # 12 groups hold 60 bits
        raise ValueError("run lengths: a number of more than 60 bits")
    numbers = np.add.reduceat((groups & 31) << (5 * place), start)
    last = groups[np.concatenate([start[1:], [len(groups)]]) - 1]
    length = np.diff(start, append=len(groups))
    numbers -= np.where(last & 16, np.int64(1) << (5 * length), 0)
    # From the fourth run on, the difference to the last run but one is stored.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return one mask, bool (height, width), of polygons or of run lengths, packed or not.

    Run lengths ({"size": [h, w], "counts": [...] or "..."}) go down the columns, zeros first.
    Polygons are read as pycocotools reads them, which has to be installed.

    Raises
    ------
    ValueError : run lengths of another size than `size`, or none of these forms.
    ImportError : polygons without pycocotools.
    """
    if isinstance(segmentation, dict) and "counts" in segmentation:
        counts = segmentation["counts"]
        runs = decode_runs(counts) if isinstance(counts, str | bytes) else _plain_runs(counts)
        wrong = (runs < 0).any() or runs.sum() != size[0] * size[1]
        if wrong or tuple(segmentation.get("size", ())) != tuple(size):
            raise ValueError(
                f"run lengths: wanted {size[0]} x {size[1]} pixels, got size "
                f"{segmentation.get('size')} and {runs.sum()} pixels"
            )
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return np.ascontiguousarray(inside.reshape(size, order="F"))
    if not isinstance(segmentation, list):
        raise ValueError(f"a segmentation must be run lengths or polygons, got {segmentation!r}")
    try:
        from pycocotools import mask as coco_mask
    except ImportError:
        raise ImportError("masks as polygons need pycocotools: pip install pycocotools") from None
    merged = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    decoded: NDArray[np.bool_] = np.asarray(coco_mask.decode(merged), dtype=bool)
    return decoded


def _plain_runs(counts: Any) -> NDArray[np.int64]:
    runs = np.asarray(counts)
    if runs.ndim != 1 or (runs.size and runs.dtype.kind not in "iu"):
        raise ValueError("run lengths: wanted a string or a list of whole numbers")
    return runs.astype(np.int64)
