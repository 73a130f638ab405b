"""What the tests of every part share: the data folder, and the backends of `detect`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import claid_ext
import hypothesis
import pytest
from claid_ext import _core
from claid_ext.backbones.runtimes import choosing

hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("explore", deadline=None, database=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def _at_level(level: str) -> Callable[..., Any]:
    """`claid_ext.detect` with the kernels of one SIMD level."""

    def detect(*args: Any, **kwargs: Any) -> Any:
        before = _core.simd_level()
        _core.set_simd_level(level)
        try:
            return claid_ext.detect(*args, **kwargs)
        finally:
            _core.set_simd_level(before)

    return detect


# Every way that `detect` can run on this machine; all must give the reference's trees.
BACKENDS: dict[str, Callable[..., Any]] = {level: _at_level(level) for level in _core.simd_levels()}
if _core.cuda_available()[0]:
    BACKENDS["cuda"] = partial(claid_ext.detect, device="cuda")


@pytest.fixture(scope="session", autouse=True)
def _same_networks_everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Networks run as on a CPU without bfloat16: "auto" is torch's float32 on every machine.

    Converted ones are kept for this run alone, not in the user's folder.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAID_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(choosing, "cpu_flags", frozenset)
        yield


@pytest.fixture(scope="session", params=list(BACKENDS))
def detect(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`claid_ext.detect` on each backend in turn."""
    return BACKENDS[request.param]


@pytest.fixture(scope="session")
def backends() -> dict[str, Callable[..., Any]]:
    """`claid_ext.detect` on every backend, for tests that make the reference's tree only once."""
    return BACKENDS


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real pictures with ground truth; tests that need it skip without it."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CLAID_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real pictures at {folder} (set CLAID_DATA)")
    return folder
