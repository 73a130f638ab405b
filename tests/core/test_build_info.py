"""What the core was built with, and which of it runs."""

from __future__ import annotations

import os
import subprocess
import sys

import claid_ext
import pytest
from claid_ext import _core, build_info


def test_build_info() -> None:
    info = build_info()
    assert info["version"] == claid_ext.__version__
    assert info["simd"] in info["simd_usable"]
    assert info["simd_usable"][0] == info["simd_compiled"][0] == "scalar"
    assert set(info["simd_usable"]) <= set(info["simd_compiled"])
    assert isinstance(info["cuda"], bool)
    assert isinstance(info["cuda_reason"], str)


def test_unknown_simd_level() -> None:
    with pytest.raises(ValueError, match="mmx"):
        _core.set_simd_level("mmx")
    assert _core.simd_level() in _core.simd_levels()


@pytest.mark.parametrize("level", _core.simd_levels())
def test_claid_simd_forces_a_level(level: str) -> None:
    code = "import claid_ext; print(claid_ext.build_info()['simd'])"
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CLAID_SIMD": level},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == level


def test_claid_simd_must_be_there() -> None:
    code = "import claid_ext, numpy; claid_ext.detect(numpy.ones((4, 1)), (2, 2))"
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CLAID_SIMD": "mmx"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 1
    assert "mmx" in out.stderr
