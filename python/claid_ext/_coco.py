"""COCO run-length encoding of patch masks, without ever making the mask of pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode_runs", "mask_runs"]


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
