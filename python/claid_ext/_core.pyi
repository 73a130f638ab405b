"""The compiled kernels behind `claid_ext.detect`: arguments in, arrays out."""

from collections.abc import Sequence
from typing import TypeAlias

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
def compiled_simd_levels() -> list[str]: ...
def simd_levels() -> list[str]: ...
def simd_level() -> str: ...
def set_simd_level(level: str) -> None: ...
def cuda_available() -> tuple[bool, str]: ...
