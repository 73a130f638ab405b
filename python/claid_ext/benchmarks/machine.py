"""What a figure was measured on: processor, instruction sets, versions, thread settings."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import claid_ext

__all__ = ["describe", "one_thread", "threads_limited", "to_markdown"]

_PACKAGES = ("numpy", "scipy", "torch", "timm", "faiss-cpu", "ncut-pytorch", "threadpoolctl")
# The instruction sets that the kernels here or BLAS choose by; a CPU reports over a hundred.
_FLAGS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
)


def describe() -> dict[str, Any]:
    """Return the machine and the software as JSON-ready values; no names of hosts, users, paths."""
    cpu = _cpu_info()
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "cpu_flags": [flag for flag in _FLAGS if flag in flags],
        "cpus_usable": _usable_cpus(),
        "architecture": platform.machine(),
        "os": platform.system(),
        "python": platform.python_version(),
        "claid_ext": claid_ext.build_info(),
        "packages": {name: v for name in _PACKAGES if (v := _version(name)) is not None},
        "blas": _thread_pools(),
        "gpu": _gpu(),
        "thread_variables": {
            name: os.environ[name]
            for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CLAID_SIMD")
            if name in os.environ
        },
    }


def to_markdown(machine: dict[str, Any]) -> str:
    """Return a description as one paragraph of Markdown, for under a table."""
    info = machine["claid_ext"]
    blas = ", ".join(
        sorted({f"{p['api']} {p['version']} ({p['kernel']})" for p in machine["blas"]})
    )
    parts = [
        f"{machine['cpu']}, {machine['cpus_usable']} CPUs usable, {machine['architecture']} "
        f"({' '.join(machine['cpu_flags'])})",
        f"GPU: {machine['gpu'] or 'none'}",
        f"Python {machine['python']}, "
        + ", ".join(f"{name} {version}" for name, version in machine["packages"].items()),
        f"BLAS: {blas or 'unknown'}",
        "claid_ext " + ", ".join(f"{key}: {value}" for key, value in info.items()),
    ]
    return "Measured on: " + "; ".join(parts) + "."


@contextlib.contextmanager
def threads_limited(threads: int) -> Iterator[None]:
    """Hold BLAS, OpenMP and torch (where it is loaded) to this many threads for the block.

    Raises ImportError, saying which extra to install, without threadpoolctl.
    """
    try:
        import scipy.linalg  # noqa: F401  (its BLAS is its own, and is limited only once loaded)
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ImportError(
            "benchmarks need SciPy and threadpoolctl: pip install 'claid_ext[baselines]'"
        ) from error

    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with threadpool_limits(limits=threads):
        try:
            if torch:
                torch.set_num_threads(threads)
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


def one_thread() -> contextlib.AbstractContextManager[None]:
    """One thread for everything, as in the paper's Table IV."""
    return threads_limited(1)


def _cpu_info() -> dict[str, str]:
    """First processor of /proc/cpuinfo; empty where the system has none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _thread_pools() -> list[dict[str, Any]]:
    """BLAS libraries loaded in this process; empty without threadpoolctl."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    return [
        {
            "api": pool["internal_api"],
            "version": pool.get("version"),
            "kernel": pool.get("architecture"),
            "threads": pool["num_threads"],
        }
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]


def _gpu() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
