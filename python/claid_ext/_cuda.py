"""`detect` on a CUDA device: tensors there are read in place, arrays are copied up."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any, NamedTuple

from claid_ext import _core
from claid_ext._arguments import Images, Options, check_images, check_shapes, is_cuda
from claid_ext.errors import CudaUnavailableError

__all__ = ["cuda_device", "detect_on_cuda"]

_LEGACY_STREAM = 1  # in DLPack and in the CUDA runtime alike
_PER_THREAD_STREAM = 2


class _Sources(NamedTuple):
    """A batch as the compiled core takes it: DLPack capsules and float32 arrays."""

    arrays: list[Any]  # what the capsules are of
    capsules: list[Any]
    stream: int


def cuda_device(features: Any, device: tuple[str, int] | None, asked: Any) -> int | None:
    """Return the number of the CUDA device to work on, None for the CPU.

    That is the asked one, or where the features are; CudaUnavailableError where there is no CUDA.
    """
    arrays = features if isinstance(features, (list, tuple)) else (features,)
    there = [array for array in arrays if is_cuda(array)]
    if device[0] != "cuda" if device is not None else not there:
        return None
    available, reason = _core.cuda_available()
    if not available:
        whose = "the features are on a CUDA device" if device is None else f"device is {asked}"
        raise CudaUnavailableError(f"{whose}, but detect cannot use CUDA here: {reason}")
    if there and (device is None or str(asked) == "cuda"):
        return _number(there[0])
    return device[1] if device is not None else 0


def detect_on_cuda(
    features: Any, grid: Any, device: int, options: Options
) -> tuple[Images, list[_core.TreeArrays]]:
    """Return the checked images and their trees; ValueError where a feature is not finite."""
    listed = isinstance(features, (list, tuple))
    if listed and any(map(is_cuda, features)):
        arrays, batch = list(features), True
    elif not listed and is_cuda(features):
        batch = len(features.shape) == 3
        arrays = [features[i] for i in range(len(features))] if batch else [features]
    else:
        images = check_images(features, grid)
        sources = _Sources(images.features, list(images.features), _PER_THREAD_STREAM)
        return images, _run(sources, images.grids, device, options, images.batch)
    grids = check_shapes(arrays, grid, batch)
    found = _run(_sources(arrays, grids, device), grids, device, options, batch)
    return Images([], grids, batch), found


def _run(
    sources: _Sources, grids: list[tuple[int, int]], device: int, options: Options, batch: bool
) -> list[_core.TreeArrays]:
    try:
        return _core.detect_cuda(
            sources.capsules, grids, device, sources.stream, **options._asdict()
        )
    except ValueError as error:
        if len(error.args) != 4:
            raise
        _, image, row, column = error.args
        name = f"features[{image}]" if batch else "features"
        value = float(sources.arrays[image][row, column])
        raise ValueError(
            f"{name} must be finite, got {value} at row {row}, column {column}"
        ) from None


def _sources(arrays: list[Any], grids: list[tuple[int, int]], device: int) -> _Sources:
    """Take tensors on CUDA devices by DLPack, ready on the caller's current stream."""
    torch: Any = sys.modules.get("torch")
    by_torch = torch is not None and any(isinstance(array, torch.Tensor) for array in arrays)
    stream = int(torch.cuda.current_stream(device).cuda_stream) if by_torch else _LEGACY_STREAM
    held, capsules = [], []
    for i, (array, grid) in enumerate(zip(arrays, grids, strict=True)):
        if not is_cuda(array):
            held.append(check_images(array, grid).features[0])
            capsules.append(held[-1])
            continue
        is_tensor = torch is not None and isinstance(array, torch.Tensor)
        if is_tensor:
            array = _as_features(torch, f"features[{i}]", array, device)  # noqa: PLW2901
        elif not hasattr(array, "__dlpack__"):
            raise TypeError(f"features[{i}] is on a CUDA device and must have __dlpack__")
        held.append(array)
        # torch exports tensors of its current device only.
        with torch.cuda.device(device) if is_tensor else nullcontext():
            # The default stream is 0 to the runtime, and 1 to DLPack.
            capsules.append(array.__dlpack__(stream=stream or _LEGACY_STREAM))
    return _Sources(held, capsules, stream)


def _as_features(torch: Any, name: str, tensor: Any, device: int) -> Any:
    """Bring a tensor to the device and to a type that the kernels read."""
    if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
        raise TypeError(
            f"{name} must be a dense tensor of real numbers, "
            f"got {tensor.dtype} in layout {tensor.layout}"
        )
    tensor = tensor.detach().resolve_neg().to(f"cuda:{device}")
    read = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return tensor if tensor.dtype in read else tensor.float()


def _number(array: Any) -> int:
    if hasattr(array, "__dlpack_device__"):
        return int(array.__dlpack_device__()[1])
    return 0
