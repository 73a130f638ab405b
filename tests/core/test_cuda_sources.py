"""How CUDA tensors are taken over: by DLPack, from the right device, for the right stream.

There is no GPU in most places, so torch and its tensors are stand-ins that write down what is
asked of them, and refuse what torch refuses.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from claid_ext import _cuda


class Tensor:
    """A tensor on a CUDA device; torch exports those of its current device only."""

    is_cuda = True
    is_quantized = False
    layout = "strided"

    def __init__(self, torch: Any, device: int, dtype: str = "float32") -> None:
        self.torch, self.device, self.dtype = torch, device, dtype
        self.shape = (6, 4)

    def is_complex(self) -> bool:
        return self.dtype == "complex64"

    def detach(self) -> Tensor:
        return self

    resolve_neg = detach

    def to(self, device: str) -> Tensor:
        return Tensor(self.torch, int(device.removeprefix("cuda:")), self.dtype)

    def float(self) -> Tensor:
        return Tensor(self.torch, self.device)

    def __dlpack__(self, *, stream: int) -> Any:
        if self.device != self.torch.current:
            raise BufferError("Can't export tensors on a different CUDA device index.")
        return (self.device, self.dtype, stream)


class Torch(SimpleNamespace):
    """The parts of torch that are used, with the given streams current on each device."""

    def __init__(self, streams: dict[int, int]) -> None:
        super().__init__(Tensor=Tensor, strided="strided", current=0)
        for name in ("float16", "bfloat16", "float32", "float64"):
            setattr(self, name, name)
        self.cuda = SimpleNamespace(
            current_stream=lambda device: SimpleNamespace(cuda_stream=streams[device]),
            device=lambda device: Chosen(self, device),
        )


class Chosen:
    """torch.cuda.device."""

    def __init__(self, torch: Torch, device: int) -> None:
        self.torch, self.device = torch, device

    def __enter__(self) -> None:
        self.before, self.torch.current = self.torch.current, self.device

    def __exit__(self, *_: object) -> None:
        self.torch.current = self.before


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Torch:
    stand_in = Torch({0: 0, 1: 4711})
    monkeypatch.setitem(sys.modules, "torch", stand_in)
    return stand_in


def test_default_stream_is_one_to_dlpack_and_zero_to_the_runtime(torch: Torch) -> None:
    sources, stream = _cuda._sources([Tensor(torch, 0)], [(2, 3)], 0)
    assert sources == [(0, "float32", 1)]
    assert stream == 0


def test_tensors_of_a_device_that_is_not_current(torch: Torch) -> None:
    sources, stream = _cuda._sources(
        [Tensor(torch, 1), Tensor(torch, 1, "float16")], [(2, 3)] * 2, 1
    )
    assert sources == [(1, "float32", 4711), (1, "float16", 4711)]
    assert stream == 4711
    assert torch.current == 0


def test_other_devices_and_types_are_brought_over(torch: Torch) -> None:
    tensors = [Tensor(torch, 0), Tensor(torch, 1, "int32")]
    sources, _ = _cuda._sources(tensors, [(2, 3)] * 2, 1)
    assert sources == [(1, "float32", 4711)] * 2
    with pytest.raises(TypeError, match="features\\[0\\] must be a dense tensor of real numbers"):
        _cuda._sources([Tensor(torch, 0, "complex64")], [(2, 3)], 0)


def test_arrays_of_the_host_beside_tensors(torch: Torch) -> None:
    array = np.arange(24, dtype=np.float64).reshape(6, 4)
    sources, _ = _cuda._sources([array, Tensor(torch, 1)], [(2, 3)] * 2, 1)
    assert sources[0].dtype == np.float32
    np.testing.assert_array_equal(sources[0], array)
    assert sources[1] == (1, "float32", 4711)


def test_arrays_of_other_libraries_come_on_the_legacy_stream(torch: Torch) -> None:
    class Array:
        shape = (6, 4)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 1)

        def __dlpack__(self, *, stream: int) -> Any:
            return stream

    sources, stream = _cuda._sources([Array()], [(2, 3)], 1)
    assert (sources, stream) == ([1], 1)
