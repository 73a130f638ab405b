"""The arguments of `detect`, checked and brought to the form that every backend takes."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Images",
    "Options",
    "check_device",
    "check_finite",
    "check_images",
    "check_options",
    "check_shapes",
    "check_threads",
    "is_cuda",
    "not_finite",
]

_MAX_PATCHES = 65535  # so that a patch fits uint16, and the exact sums their integer types
_MAX_THREADS = 256  # more never help, and a machine may refuse them
_DOMINANCE = 0.2  # paper, V-F
_DOMINANCE_RELEASED = 0.1  # the authors' code
_INT32_MAX = 2**31 - 1
_REAL = (int, float, np.integer, np.floating)


class Options(NamedTuple):
    """Checked options of one call, under the names that the compiled core takes."""

    tau: float
    connectivity: float
    energy_top: float
    dominance: float
    min_patches: int
    random_start: bool
    seed: int
    max_passes: int
    released: bool


class Images(NamedTuple):
    """Checked features of one call.

    `features` are float32 C-contiguous (N_i, D_i), `grids` their (H_i, W_i) with H_i W_i = N_i;
    `batch` says whether a list of trees is wanted.
    """

    features: list[NDArray[np.float32]]
    grids: list[tuple[int, int]]
    batch: bool


def check_options(
    *,
    tau: float,
    connectivity: float,
    energy_top: float,
    dominance: float | None,
    min_patches: int,
    init: str,
    seed: int,
    max_passes: int,
    preset: str | None,
) -> Options:
    """Check the options of `detect`; TypeError or ValueError name the one that is wrong."""
    if preset not in (None, "released"):
        raise ValueError(f"preset must be None or 'released', got {preset!r}")
    if init not in ("seeds", "random"):
        raise ValueError(f"init must be 'seeds' or 'random', got {init!r}")
    released = preset == "released"
    if dominance is None:
        dominance = _DOMINANCE_RELEASED if released else _DOMINANCE
    return Options(
        tau=_real("tau", tau, -1.0),
        connectivity=_real("connectivity", connectivity, 0.0),
        energy_top=_real("energy_top", energy_top, 0.0),
        dominance=_real("dominance", dominance, 0.0),
        min_patches=min(_whole("min_patches", min_patches, 2), _MAX_PATCHES + 1),
        random_start=init == "random",
        seed=_whole("seed", seed, 0, 2**64 - 1),
        max_passes=min(_whole("max_passes", max_passes, 1), _INT32_MAX),
        released=released,
    )


def check_threads(threads: int | None) -> int:
    """Return the number of threads, 0 for as many as the machine has."""
    return 0 if threads is None else min(_whole("threads", threads, 1), _MAX_THREADS)


def check_device(device: Any) -> tuple[str, int] | None:
    """Return ("cpu", 0), ("cuda", number), or None for where the features are.

    `device` is None, "cpu", "cuda", "cuda:1", ..., or a torch.device of one of these.
    """
    if device is None:
        return None
    if not isinstance(device, str) and type(device).__module__ != "torch":
        raise TypeError(f"device must be None, a str or a torch.device, got {_kind(device)}")
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", str(device))
    if match is None:
        raise ValueError(f"device must be None, 'cpu', 'cuda' or 'cuda:N', got {str(device)!r}")
    return str(device).partition(":")[0], int(match[1] or 0)


def is_cuda(array: Any) -> bool:
    """Whether an array of any library lies on a CUDA device."""
    if isinstance(array, np.ndarray):
        return False
    if hasattr(array, "is_cuda"):
        return bool(array.is_cuda)
    if hasattr(array, "__dlpack_device__"):
        return int(array.__dlpack_device__()[0]) == 2  # kDLCUDA
    return hasattr(array, "__cuda_array_interface__")


def check_images(features: Any, grid: Any) -> Images:
    """Bring `features` and `grid` to float32 matrices and their grids.

    One (N, D) array is one image; a (B, N, D) array or a list or tuple is a batch. Float32 that is
    C-contiguous is taken as it is, without a copy; anything else is copied. Finiteness is not
    checked here, but a float64 too large for float32 is an error.
    """
    if isinstance(features, (list, tuple)):
        arrays = [_array(f"features[{i}]", item) for i, item in enumerate(features)]
        batch = True
    else:
        array = _array("features", features)
        batch = array.ndim == 3
        arrays = list(array) if batch else [array]
    return Images(arrays, check_shapes(arrays, grid, batch), batch)


def check_shapes(arrays: Sequence[Any], grid: Any, batch: bool) -> list[tuple[int, int]]:
    """Check that arrays of any library fit their grids; return the grids."""
    grids = _grids(grid, len(arrays)) if batch else [_grid("grid", grid)]
    for i, (array, (height, width)) in enumerate(zip(arrays, grids, strict=True)):
        name = f"features[{i}]" if batch else "features"
        shape = tuple(array.shape)
        if len(shape) != 2:
            raise ValueError(
                f"{name} must have 2 dimensions, (patches, channels), got shape {shape}; "
                "a batch is one (B, N, D) array or a list of (N, D) arrays"
            )
        patches, channels = shape
        if not 1 <= patches <= _MAX_PATCHES:
            raise ValueError(f"{name} must have 1 to {_MAX_PATCHES} patches, got {patches}")
        if channels < 1:
            raise ValueError(f"{name} must have 1 channel or more, got shape {shape}")
        if height * width != patches:
            raise ValueError(
                f"grid {height} x {width} = {height * width} patches, but {name} has {patches}"
            )
    return grids


def check_finite(images: Images) -> None:
    """Raise ValueError at the first number, in reading order, that is NaN or infinite."""
    for i, X in enumerate(images.features):
        if not np.isfinite(X).all():
            row, column = np.argwhere(~np.isfinite(X))[0].tolist()
            raise not_finite(images.batch, i, row, column, float(X[row, column]))


def not_finite(batch: bool, image: int, row: int, column: int, value: float) -> ValueError:
    """Return the error for a number that is NaN or infinite, by its place in the batch."""
    name = f"features[{image}]" if batch else "features"
    return ValueError(f"{name} must be finite, got {value} at row {row}, column {column}")


def _grids(grid: Any, count: int) -> list[tuple[int, int]]:
    """Grids of a batch: one for all, or a sequence of them."""
    try:
        several = len(grid) == 0 or np.ndim(grid[0]) > 0
    except (TypeError, KeyError, ValueError):
        several = False
    if not several:
        return [_grid("grid", grid)] * count
    if len(grid) != count:
        raise ValueError(f"grid must be one (H, W) or one for each of {count} images, got {grid!r}")
    return [_grid(f"grid[{i}]", one) for i, one in enumerate(grid)]


def _grid(name: str, grid: Any) -> tuple[int, int]:
    try:
        height, width = grid
    except (TypeError, ValueError):
        raise _error_for(grid)(f"{name} must be (H, W), two whole numbers, got {grid!r}") from None
    return _whole(f"{name}[0]", height, 1), _whole(f"{name}[1]", width, 1)


def _error_for(grid: Any) -> type[Exception]:
    return ValueError if isinstance(grid, (Sequence, np.ndarray)) else TypeError


def _array(name: str, value: Any) -> NDArray[np.float32]:
    """Bring one array, of 2 or 3 dimensions as yet, to float32 and C order."""
    array = value if isinstance(value, np.ndarray) else _to_numpy(name, value)
    flags = array.flags
    if array.dtype == np.float32 and flags.c_contiguous and flags.aligned:
        return array
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    try:
        with np.errstate(over="raise", under="ignore", invalid="ignore"):
            return np.require(array, np.float32, ("C_CONTIGUOUS", "ALIGNED"))
    except FloatingPointError:
        with np.errstate(all="ignore"):
            lost = np.isfinite(array) & ~np.isfinite(array.astype(np.float32))
        where = tuple(np.argwhere(lost)[0].tolist())
        raise ValueError(
            f"{name} must fit float32, got {array[where]!r} at {list(where)}, which overflows it"
        ) from None


def _to_numpy(name: str, value: Any) -> NDArray[Any]:
    """Bring what is no NumPy array to one, without a copy where its library allows that."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _from_torch(torch, name, value)
    try:
        if hasattr(value, "__array__") or isinstance(value, (list, tuple)):
            return np.asarray(value)
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} cannot be read as an array of numbers: {error}") from error
    raise TypeError(
        f"{name} must be an array (NumPy, torch, or with __array__ or __dlpack__) or a list of "
        f"them, got {_kind(value)}"
    )


def _from_torch(torch: Any, name: str, tensor: Any) -> NDArray[Any]:
    if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
        raise TypeError(
            f"{name} must be a dense tensor of real numbers, "
            f"got {tensor.dtype} in layout {tensor.layout}"
        )
    if tensor.device.type == "meta":
        raise ValueError(f"{name} is a meta tensor: it has no numbers")
    if tensor.is_floating_point() and tensor.dtype not in (
        torch.float16,
        torch.float32,
        torch.float64,
    ):
        tensor = tensor.float()  # bfloat16 and float8 are unknown to NumPy; float32 holds them
    array: NDArray[Any] = tensor.detach().cpu().resolve_neg().numpy()
    return array


def _real(name: str, value: Any, low: float) -> float:
    """Check a real number from low to 1."""
    if isinstance(value, bool) or not isinstance(value, _REAL):
        raise TypeError(f"{name} must be a real number, got {_kind(value)} {value!r}")
    number = float(value)
    if not low <= number <= 1.0:  # False for NaN too
        raise ValueError(f"{name} must be from {low:g} to 1, got {number!r}")
    return number


def _whole(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Check a whole number from low on."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number, got {_kind(value)} {value!r}")
    number = int(value)
    if number < low or (high is not None and number > high):
        wanted = f"{low} or more" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be {wanted}, got {number}")
    return number


def _kind(value: Any) -> str:
    return type(value).__name__
