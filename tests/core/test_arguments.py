"""Every bad argument is a clear error that names it; every harmless one is accepted."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import claid_ext
import numpy as np
import pytest
from claid_ext import _core, reference
from claid_ext._arguments import check_options

GRID = (12, 15)


@pytest.fixture(params=["detect", "reference"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Both implementations check alike."""
    return claid_ext.detect if request.param == "detect" else reference.detect


@pytest.fixture(scope="module", name="X")
def features(make_features: Callable[..., Any]) -> Any:
    return make_features("blobs", 8, *GRID, 20)


@pytest.fixture
def core_options() -> dict[str, Any]:
    """The options under the core's own names, each with a value of its type."""
    defaults = inspect.signature(claid_ext.detect).parameters
    taken = {name: defaults[name].default for name in inspect.signature(check_options).parameters}
    return check_options(**taken)._asdict()


@pytest.mark.parametrize(("value", "name"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_not_finite(run: Callable[..., Any], X: Any, value: float, name: str) -> None:
    bad = X.copy()
    bad[37, 11] = value
    bad[40, 2] = value
    with pytest.raises(
        ValueError, match=rf"features must be finite, got {name} at row 37, column 11"
    ):
        run(bad, GRID)
    with pytest.raises(ValueError, match=rf"features\[2\] .* {name} at row 37, column 11"):
        run([X, X, bad, bad], GRID)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_the_first_number_that_is_not_finite_is_named(threads: int) -> None:
    """In reading order, whatever thread comes to one first."""
    X = np.ones((60 * 90, 130), np.float32)
    X[100:, 5] = np.nan
    X[63, 7] = np.inf
    X[63, 9] = np.nan
    fine = np.ones((60 * 90, 130), np.float32)
    for _ in range(5):
        with pytest.raises(ValueError, match=r"features must be .*got inf at row 63, column 7$"):
            claid_ext.detect(X, (60, 90), threads=threads)
        with pytest.raises(ValueError, match=r"features\[1\] .* got inf at row 63, column 7$"):
            claid_ext.detect([fine[:90], X, X], [(1, 90), (60, 90), (60, 90)], threads=threads)


def test_the_core_says_where_a_number_is_not_finite(core_options: dict[str, Any]) -> None:
    X = np.ones((6, 4), np.float32)
    bad = X.copy()
    bad[3, 2] = -np.inf
    with pytest.raises(_core.NotFiniteError) as raised:
        _core.detect([X, bad], [(2, 3)] * 2, _core.Options(**core_options), threads=1)
    error = raised.value
    assert (error.image, error.row, error.column, error.value) == (1, 3, 2, -np.inf)
    assert isinstance(error, ValueError)


def test_the_core_takes_each_option_by_its_name_and_no_other(core_options: dict[str, Any]) -> None:
    X = np.ones((6, 4), np.float32)
    options = _core.Options(**core_options)
    with pytest.raises(TypeError, match="bogus=3"):
        _core.detect([X], [(2, 3)], options, threads=1, bogus=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="bogus=3"):
        _core.Options(**core_options, bogus=3)
    for name in core_options:
        rest = {key: value for key, value in core_options.items() if key != name}
        with pytest.raises(TypeError, match=f"{name}: "):
            _core.Options(**rest)
    with pytest.raises(TypeError, match="tau: "):
        _core.Options(**{**core_options, "tau": "0.2"})


def test_too_large_for_float32(run: Callable[..., Any], X: Any) -> None:
    bad = X.astype(np.float64)
    bad[7, 3] = -1e39
    with pytest.raises(ValueError, match=r"features.*float32.*-1e\+39.*\[7, 3\]"):
        run(bad, GRID)


@pytest.mark.parametrize("shape", [(), (180,), (1, 2, 90, 20)])
def test_wrong_number_of_dimensions(run: Callable[..., Any], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"features must have 2 dimensions.*shape"):
        run(np.zeros(shape, np.float32), GRID)


def test_a_list_is_a_batch(run: Callable[..., Any], X: Any) -> None:
    with pytest.raises(ValueError, match=r"features\[0\] must have 2 dimensions.*batch"):
        run(X.tolist(), GRID)


@pytest.mark.parametrize(
    ("shape", "grid", "match"),
    [
        ((180, 20), (12, 16), r"12 x 16 = 192 .*features has 180"),
        ((0, 20), (1, 1), r"features must have 1 to 65535 patches, got 0"),
        ((65536, 1), (256, 256), r"features must have 1 to 65535 patches, got 65536"),
        ((180, 0), GRID, r"features must have 1 channel"),
    ],
)
def test_wrong_shapes(run: Callable[..., Any], shape: Any, grid: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        run(np.zeros(shape, np.float32), grid)


def test_wrong_shapes_in_a_batch(run: Callable[..., Any], X: Any) -> None:
    with pytest.raises(ValueError, match=r"12 x 15 = 180 .*features\[1\] has 179"):
        run([X, X[1:]], GRID)
    with pytest.raises(ValueError, match=r"one for each of 2 images"):
        run([X, X], [GRID])
    with pytest.raises(ValueError, match=r"one for each of 2 images"):
        run(np.stack([X, X]), [GRID] * 3)


@pytest.mark.parametrize(
    ("grid", "error", "match"),
    [
        ((0, 180), ValueError, r"grid\[0\] must be 1 or more, got 0"),
        ((-12, -15), ValueError, r"grid\[0\] must be 1 or more, got -12"),
        ((12.0, 15), TypeError, r"grid\[0\] must be a whole number, got float"),
        ((12, True), TypeError, r"grid\[1\] must be a whole number, got bool"),
        ((180,), ValueError, r"grid must be \(H, W\)"),
        ((1, 12, 15), ValueError, r"grid must be \(H, W\)"),
        (180, TypeError, r"grid must be \(H, W\)"),
        (None, TypeError, r"grid must be \(H, W\)"),
        ("ab", TypeError, r"grid\[0\] must be a whole number"),
    ],
)
def test_wrong_grid(run: Callable[..., Any], X: Any, grid: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        run(X, grid)


@pytest.mark.parametrize(
    ("features", "match"),
    [
        (np.zeros((180, 2), complex), "real numbers, got dtype complex"),
        (np.zeros((180, 2), object), "real numbers, got dtype object"),
        (np.full((180, 2), "a"), "real numbers, got dtype <U1"),
        (np.zeros((180, 2), "datetime64[s]"), "real numbers, got dtype datetime64"),
        (None, "must be an array.*got NoneType"),
        ("photo.jpg", "must be an array.*got str"),
        (3, "must be an array.*got int"),
        ([None], r"features\[0\] must be an array.*got NoneType"),
        ([[["a", "b"]]], r"features\[0\] must hold real numbers"),
    ],
)
def test_no_features(run: Callable[..., Any], features: Any, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        run(features, GRID)


def test_ragged_rows(run: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"features\[0\] cannot be read as an array"):
        run([[[1, 2], [3]]], (2, 1))


@pytest.mark.parametrize(
    ("option", "value", "error", "match"),
    [
        ("tau", 1.01, ValueError, "tau must be from -1 to 1, got 1.01"),
        ("tau", -1.01, ValueError, "tau must be from -1 to 1"),
        ("tau", math.nan, ValueError, "tau must be from -1 to 1, got nan"),
        ("tau", "0.2", TypeError, "tau must be a real number, got str '0.2'"),
        ("tau", None, TypeError, "tau must be a real number, got NoneType"),
        ("tau", True, TypeError, "tau must be a real number, got bool"),
        ("connectivity", -0.1, ValueError, "connectivity must be from 0 to 1"),
        ("connectivity", math.inf, ValueError, "connectivity must be from 0 to 1"),
        ("energy_top", 1.1, ValueError, "energy_top must be from 0 to 1"),
        ("energy_top", np.zeros(1), TypeError, "energy_top must be a real number"),
        ("dominance", 1.1, ValueError, "dominance must be from 0 to 1"),
        ("dominance", math.nan, ValueError, "dominance must be from 0 to 1"),
        ("min_patches", 1, ValueError, "min_patches must be 2 or more, got 1"),
        ("min_patches", -3, ValueError, "min_patches must be 2 or more"),
        ("min_patches", 15.0, TypeError, "min_patches must be a whole number, got float"),
        ("min_patches", True, TypeError, "min_patches must be a whole number, got bool"),
        ("init", "seed", ValueError, "init must be 'seeds' or 'random', got 'seed'"),
        ("init", None, ValueError, "init must be 'seeds' or 'random', got None"),
        ("seed", -1, ValueError, "seed must be from 0 to 18446744073709551615, got -1"),
        ("seed", 2**64, ValueError, "seed must be from 0 to"),
        ("seed", None, TypeError, "seed must be a whole number"),
        ("max_passes", 0, ValueError, "max_passes must be 1 or more, got 0"),
        ("max_passes", 2.5, TypeError, "max_passes must be a whole number"),
        ("preset", "paper", ValueError, "preset must be None or 'released', got 'paper'"),
        ("threads", 0, ValueError, "threads must be 1 or more, got 0"),
        ("threads", 1.0, TypeError, "threads must be a whole number"),
        ("device", "gpu", ValueError, "device must be None, 'cpu', 'cuda' or 'cuda:N', got 'gpu'"),
        ("device", "cuda:x", ValueError, "device must be"),
        ("device", 0, TypeError, "device must be None, a str or a torch.device, got int"),
    ],
)
def test_wrong_options(  # noqa: PLR0917
    run: Callable[..., Any], X: Any, option: str, value: Any, error: Any, match: str
) -> None:
    with pytest.raises(error, match=match):
        run(X, GRID, **{option: value})


def test_options_are_named(run: Callable[..., Any], X: Any) -> None:
    with pytest.raises(TypeError):
        run(X, GRID, 0.2)
    with pytest.raises(TypeError, match="thau"):
        run(X, GRID, thau=0.2)


@pytest.mark.parametrize(
    "options",
    [
        {"min_patches": 10**30},
        {"max_passes": 10**30},
        {"threads": 10**9},
        {"seed": np.uint64(2**64 - 1)},
        {"tau": np.float32(0.25), "connectivity": 1, "energy_top": np.int64(0), "dominance": 0},
        {"device": "cpu", "threads": np.int32(2)},
    ],
)
def test_unusual_options(X: Any, options: dict[str, Any]) -> None:
    assert claid_ext.detect(X, GRID, **options) == reference.detect(X, GRID, **options)


def test_preset_sets_dominance_unless_given(run: Callable[..., Any], X: Any) -> None:
    released = run(X, GRID, preset="released")
    np.testing.assert_array_equal(released.dummy, released.dominance <= 0.1)
    given = run(X, GRID, preset="released", dominance=0.2)
    np.testing.assert_array_equal(given.dummy, given.dominance <= 0.2)
    assert run(X, GRID) == run(X, GRID, dominance=0.2)
