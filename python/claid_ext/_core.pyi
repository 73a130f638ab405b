"""The compiled kernels behind `claid_ext.detect` and `box_search`: arguments in, arrays out."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# parent, level, size, connectivity, dominance, dummy, boxes, cuts, moves, offsets, members:
# the arguments of claid_ext.RegionTree after `grid`.
TreeArrays: TypeAlias = tuple[
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.bool_],
    NDArray[np.int32],
    int,
    int,
    NDArray[np.int64],
    NDArray[np.uint16],
]

class Options:
    def __init__(
        self,
        *,
        tau: float,
        connectivity: float,
        energy_top: float,
        dominance: float,
        min_patches: int,
        random_start: bool,
        seed: int,
        max_passes: int,
        released: bool,
    ) -> None: ...

class NotFiniteError(ValueError):
    image: int
    row: int
    column: int
    value: float

def detect(
    features: Sequence[NDArray[np.float32]],
    grids: Sequence[tuple[int, int]],
    options: Options,
    *,
    threads: int,
) -> list[TreeArrays]: ...

# Only in builds with CUDA. Features are DLPack capsules on the device, and float32 arrays.
def detect_cuda(
    features: Sequence[object],
    grids: Sequence[tuple[int, int]],
    options: Options,
    *,
    device: int,
    stream: int,
) -> list[TreeArrays]: ...
def time_cuda_steps(
    features: Sequence[object],
    grids: Sequence[tuple[int, int]],
    options: Options,
    *,
    device: int,
    stream: int,
) -> dict[str, float]: ...

# The answer and the best box, float32 (2, 4); score, core, count, coarse; every box and its score,
# if kept: what claid_ext.index.box_search.FoundBox is made of.
BoxArrays: TypeAlias = tuple[
    NDArray[np.float32],
    float,
    float,
    int,
    int,
    NDArray[np.float32],
    NDArray[np.float64],
]

# layout: per photo its width and height, those of an e16 cell, and of an e32 cell, in pixels.
def box_search(
    e16: Sequence[NDArray[Any]],
    e32: Sequence[NDArray[Any]],
    layout: NDArray[np.float64],
    regions: Sequence[NDArray[np.float32]],
    codebook16: NDArray[np.float32] | None,
    codebook32: NDArray[np.float32] | None,
    parts: NDArray[np.float32],
    means: NDArray[np.float32],
    sides: NDArray[np.float32],
    cells: NDArray[np.float32],
    aspect: float,
    cell_side: float,
    *,
    threads: int,
    keep_boxes: bool,
    smallest_side: float,
    aspects: tuple[float, float, float],
    least_stride: float,
    stride_divisor: float,
    seeds: int,
    second_seeds: int,
    rounds: int,
    shift: float,
    grow: float,
    shrink: float,
    part_weight: float,
    mean_weight: float,
    contrast_weight: float,
    region_weight: float,
    least_iou: float,
    temperature: float,
) -> list[BoxArrays]: ...
def compiled_simd_levels() -> list[str]: ...
def simd_levels() -> list[str]: ...
def simd_level() -> str: ...
def set_simd_level(level: str) -> None: ...
def cuda_available() -> tuple[bool, str]: ...
