"""COCO's masks: patch masks to run lengths without ever making pixels, and back from any form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_runs", "decode_segmentation", "encode_runs", "mask_runs", "runs_box"]

MOST_SIDE = 2**31  # pixels: what pycocotools can count


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
    ValueError : run lengths of another size than `size`, polygons that are not lists of at least 3
        points or lie a photo's side away from it, or none of these forms.
    ImportError : polygons without pycocotools.
    """
    if isinstance(segmentation, dict):
        runs, its = _sized_runs(segmentation)
        if its != tuple(size):
            raise ValueError(
                f"run lengths: wanted {size[0]} x {size[1]} pixels, got {its[0]} x {its[1]}"
            )
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return np.ascontiguousarray(inside.reshape(size, order="F"))
    if not isinstance(segmentation, list):
        raise ValueError(f"a segmentation must be run lengths or polygons, got {segmentation!r}")
    polygons = [_checked_polygon(part, max(size)) for part in segmentation]
    try:
        from pycocotools import mask as coco_mask
    except ImportError:
        raise ImportError("masks as polygons need pycocotools: pip install pycocotools") from None
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, *size))
    decoded: NDArray[np.bool_] = np.asarray(coco_mask.decode(merged), dtype=bool)
    return decoded


def runs_box(segmentation: dict[str, Any]) -> tuple[int, int, int, int] | None:
    """Return the box [x0, y0, x1, y1) of run lengths, None where they mark no pixel.

    Raises
    ------
    ValueError : they are not run lengths.
    """
    runs, (height, _) = _sized_runs(segmentation)
    ends = np.cumsum(runs)
    marked = runs[1::2] > 0
    first, last = ends[:-1:2][marked], ends[1::2][marked] - 1  # of each run of ones
    if len(first) == 0:
        return None
    x0, x1 = int(first[0] // height), int(last[-1] // height) + 1
    if (first // height != last // height).any():  # over the foot of a column
        return x0, 0, x1, height
    return x0, int((first % height).min()), x1, int((last % height).max()) + 1


def _sized_runs(segmentation: dict[str, Any]) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """Return checked run lengths and their (height, width)."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not (
        isinstance(size, list | tuple)
        and len(size) == 2
        and all(type(side) is int and 0 < side < MOST_SIDE for side in size)
    ):
        raise ValueError(f"run lengths: size must be [height, width], got {size!r:.60}")
    runs = decode_runs(counts) if isinstance(counts, str | bytes) else _plain_runs(counts)
    height, width = size
    # Each by itself too: a sum of any 64-bit numbers could come round to the right one.
    wrong = len(runs) and (runs.min() < 0 or runs.max() > height * width)
    if wrong or runs.sum() != height * width:
        raise ValueError(
            f"run lengths: wanted {height} x {width} pixels, got runs of {runs.sum()} in all"
        )
    return runs, (height, width)


def _plain_runs(counts: Any) -> NDArray[np.int64]:
    runs = np.asarray(counts)
    if runs.ndim != 1 or (runs.size and runs.dtype.kind not in "iu"):
        raise ValueError("run lengths: wanted a string or a list of whole numbers")
    return runs.astype(np.int64)


def _checked_polygon(part: Any, side: int) -> list[float]:
    """Return one polygon. pycocotools takes four numbers for a box, and any size of them."""
    sound = (
        isinstance(part, list)
        and len(part) >= 6
        and len(part) % 2 == 0
        and all(
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and -side <= value <= 2 * side
            for value in part
        )
    )
    if not sound:
        raise ValueError(
            "polygons must be lists of at least 3 points x, y, within the photo's longer side "
            f"({side} pixels) of it, got {part!r:.60}"
        )
    return [float(value) for value in part]
