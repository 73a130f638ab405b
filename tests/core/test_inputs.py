"""Every harmless form of input gives the same tree; CUDA's says why it is not to be had."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import claid_ext
import numpy as np
import pytest
from claid_ext import RegionTree, _core, reference
from claid_ext.errors import CudaUnavailableError

GRID = (12, 15)


@pytest.fixture(params=["detect", "reference"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Both implementations check alike."""
    return claid_ext.detect if request.param == "detect" else reference.detect


@pytest.fixture(scope="module", name="X")
def features(make_features: Callable[..., Any]) -> Any:
    return make_features("blobs", 8, *GRID, 20)


@pytest.fixture(scope="module")
def wanted(X: Any) -> RegionTree:
    tree = reference.detect(X, GRID)
    assert isinstance(tree, RegionTree)
    assert len(tree) > 1
    return tree


@pytest.mark.parametrize(
    "grid", [[12, 15], np.array(GRID), (np.int16(12), np.uint8(15))], ids=["list", "array", "ints"]
)
def test_grids(run: Callable[..., Any], X: Any, wanted: RegionTree, grid: Any) -> None:
    assert run(X, grid) == wanted


def test_array_layouts(run: Callable[..., Any], X: Any, wanted: RegionTree) -> None:
    wide = np.zeros((2 * len(X), 41), np.float32)
    wide[::2, 1::2] = X
    packed = np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(X.shape)
    assert not packed.flags.aligned or packed.ctypes.data % 4
    read_only = X.copy()
    read_only.flags.writeable = False
    for features in (
        X.astype(">f4"),
        X.astype(">f8"),
        X.astype(np.float64),
        X.astype(np.longdouble),
        np.asfortranarray(X),
        wide[::2, 1::2],
        X[::-1][::-1],
        packed,
        read_only,
    ):
        before = features.copy()
        assert run(features, GRID) == wanted
        np.testing.assert_array_equal(features, before)


def test_dtypes_are_rounded_to_float32(run: Callable[..., Any], X: Any) -> None:
    half = X.astype(np.float16)
    assert run(half, GRID) == run(half.astype(np.float32), GRID)
    whole = np.rint(9 * X)
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        assert run(whole.astype(dtype), GRID) == run(whole, GRID)
    assert run(X > 0, GRID) == run((X > 0).astype(np.float32), GRID)
    nested = [whole[:6].tolist()]
    assert run(nested, (2, 3), min_patches=2) == [run(whole[:6], (2, 3), min_patches=2)]


class OnlyArray:
    def __init__(self, data: Any) -> None:
        self.data = data

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.data


class OnlyDlpack:
    def __init__(self, data: Any) -> None:
        self.data = data

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


@pytest.mark.parametrize("wrap", [OnlyArray, OnlyDlpack])
def test_arrays_of_other_libraries(
    run: Callable[..., Any], X: Any, wanted: RegionTree, wrap: Any
) -> None:
    assert run(wrap(X), GRID) == wanted
    assert run([wrap(X), X], GRID) == [wanted, wanted]


def test_batches(run: Callable[..., Any], X: Any, wanted: RegionTree) -> None:
    tall = X.reshape(12, 15, -1).swapaxes(0, 1).reshape(X.shape)
    other = run(tall, (15, 12))
    assert run([], GRID) == run([], []) == run(np.zeros((0, 180, 20)), GRID) == []
    assert run([X], GRID) == run((X,), [GRID]) == run(X[None], GRID) == [wanted]
    assert run([X, tall], [GRID, (15, 12)]) == [wanted, other]
    assert run([X, tall], np.array([GRID, (15, 12)])) == [wanted, other]
    # Channels may differ from image to image.
    assert run([X, X[:, :5]], GRID) == [wanted, run(X[:, :5], GRID)]


def test_torch_tensors(run: Callable[..., Any], X: Any, wanted: RegionTree) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(X)
    assert run(tensor, GRID) == wanted
    assert run(tensor.double(), torch.Size(GRID)) == wanted
    assert run(tensor.clone().requires_grad_(), GRID) == wanted
    assert run(tensor.t().contiguous().t(), GRID) == wanted
    assert run(torch.stack([tensor, tensor]), GRID, device=torch.device("cpu")) == [wanted, wanted]
    assert run([tensor, X], GRID) == [wanted, wanted]
    for dtype in (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.int32):
        rounded = tensor.to(dtype)
        assert run(rounded, GRID) == run(rounded.float().numpy(), GRID)
    for wrong in (tensor.to(torch.complex64), tensor.to_sparse()):
        with pytest.raises(TypeError, match="features must be a dense tensor of real numbers"):
            run(wrong, GRID)
    with pytest.raises(ValueError, match="features is a meta tensor"):
        run(tensor.to("meta"), GRID)


def test_float32_is_not_copied(make_features: Callable[..., Any]) -> None:
    X = make_features("noise", 0, 40, 40, 700)  # 4.5 MB; its Q15 rows are not NumPy's
    for features in (X, X.reshape(1, *X.shape), [X]):
        tracemalloc.start()
        claid_ext.detect(features, (40, 40))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1_000_000


@pytest.mark.skipif(_core.cuda_available()[0], reason="CUDA is here")
def test_cuda_where_there_is_none_says_why(X: Any) -> None:
    reason = _core.cuda_available()[1]
    assert reason
    for device in ("cuda", "cuda:1"):
        with pytest.raises(CudaUnavailableError) as error:
            claid_ext.detect(X, GRID, device=device)
        assert reason in str(error.value)

    class OnCuda(OnlyDlpack):
        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

    for features in (OnCuda(X), [X, OnCuda(X)]):
        with pytest.raises(CudaUnavailableError, match="features are on a CUDA device") as error:
            claid_ext.detect(features, GRID)
        assert reason in str(error.value)
