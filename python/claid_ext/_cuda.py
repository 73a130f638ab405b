"""`detect` on a CUDA device: tensors there are read in place, arrays are copied up."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

from claid_ext import _core
from claid_ext._arguments import Images, check_images, check_shapes, is_cuda
from claid_ext.errors import CudaUnavailableError

__all__ = ["cuda_device", "prepare_cuda"]

_LEGACY_STREAM = 1  # in DLPack and in the CUDA runtime alike
_PER_THREAD_STREAM = 2


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


def prepare_cuda(
    features: Any, grid: Any, device: int
) -> tuple[Images, Callable[..., list[_core.TreeArrays]]]:
    """Return the checked images, and the call that wants nothing but `options` to run on them.

    The images hold no features where those are on a device.
    """
    listed = isinstance(features, (list, tuple))
    if listed and any(map(is_cuda, features)):
        arrays, batch = list(features), True
    elif not listed and is_cuda(features):
        batch = len(features.shape) == 3
        arrays = [features[i] for i in range(len(features))] if batch else [features]
    else:
        images = check_images(features, grid)
        return images, partial(
            _core.detect_cuda,
            images.features,
            images.grids,
            device=device,
            stream=_PER_THREAD_STREAM,
        )
    grids = check_shapes(arrays, grid, batch)
    sources, stream = _sources(arrays, grids, device)
    run = partial(_core.detect_cuda, sources, grids, device=device, stream=stream)
    return Images([], grids, batch), run


def _sources(arrays: list[Any], grids: list[tuple[int, int]], device: int) -> tuple[list[Any], int]:
    """Return DLPack capsules of tensors on CUDA devices, float32 arrays of others, and a stream.

    The tensors are ready on the stream, the caller's current one; their capsules hold them.
    """
    torch: Any = sys.modules.get("torch")
    by_torch = torch is not None and any(isinstance(array, torch.Tensor) for array in arrays)
    stream = int(torch.cuda.current_stream(device).cuda_stream) if by_torch else _LEGACY_STREAM
    sources = []
    for i, (array, grid) in enumerate(zip(arrays, grids, strict=True)):
        if not is_cuda(array):
            sources.append(check_images(array, grid).features[0])
            continue
        is_tensor = torch is not None and isinstance(array, torch.Tensor)
        if is_tensor:
            array = _as_features(torch, f"features[{i}]", array, device)  # noqa: PLW2901
        elif not hasattr(array, "__dlpack__"):
            raise TypeError(f"features[{i}] is on a CUDA device and must have __dlpack__")
        # torch exports tensors of its current device only.
        with torch.cuda.device(device) if is_tensor else nullcontext():
            # The default stream is 0 to the runtime, and 1 to DLPack.
            sources.append(array.__dlpack__(stream=stream or _LEGACY_STREAM))
    return sources, stream


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
