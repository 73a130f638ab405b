"""The extension by itself: its stub, the levels it finds, and free-threaded Python."""

from __future__ import annotations

import ast
import platform
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import claid_ext
import pytest
from claid_ext import _core

STUB = Path(claid_ext.__file__).parent / "_core.pyi"
# What Linux says in /proc/cpuinfo where a level can run.
FLAGS = {
    "avx2": {"avx2", "fma", "popcnt"},
    "avxvnni": {"avx2", "avx_vnni"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "avx512vnni": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"},
    "dotprod": {"asimddp"},
    "i8mm": {"asimddp", "i8mm"},
}
CUDA_ALONE = {"detect_cuda", "time_cuda_steps"}


def stubbed() -> dict[str, list[str]]:
    """The arguments of each function of the stub, after whose `*` names are needed."""
    found = {}
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            arguments = node.args
            names = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args]]
            named = [argument.arg for argument in arguments.kwonlyargs]
            found[node.name] = [*names, *(["*"] if named else []), *named]
    return found


def compiled(name: str) -> list[str]:
    """The same of a compiled function, from the signature that begins its docstring."""
    signature = (getattr(_core, name).__doc__ or "").splitlines()[0]
    inside = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    while (shorter := re.sub(r"\[[^\[\]]*\]", "", inside)) != inside:
        inside = shorter
    return [part.partition(":")[0].strip() for part in inside.split(",") if part.strip()]


def test_the_stub_has_the_extension_s_functions_and_their_arguments() -> None:
    stub = stubbed()
    there = {name for name in dir(_core) if name[0] != "_" and name[0].islower()}
    assert set(stub) - CUDA_ALONE == there - CUDA_ALONE
    for name in there:
        arguments = compiled(name)
        if arguments[-1:] == ["**kwargs"]:  # by names that the extension checks itself
            arguments[-1:] = stub[name][len(arguments) - 1 :]
        assert arguments == stub[name], name


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="no /proc/cpuinfo here")
def test_levels_are_those_of_the_processor() -> None:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = set(re.findall(r"^(?:flags|Features)\s*: (.*)$", info, re.MULTILINE)[0].split())
    usable = set(_core.simd_levels())
    for level in set(_core.compiled_simd_levels()) & set(FLAGS):
        assert (level in usable) == (FLAGS[level] <= flags), level
    always = {"x86_64": {"scalar"}, "aarch64": {"scalar", "neon"}}
    assert always.get(platform.machine(), set()) <= usable


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="Python has a GIL")
def test_free_threaded_python_stays_so() -> None:
    code = "import sys, claid_ext._core; sys.exit(sys._is_gil_enabled())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
