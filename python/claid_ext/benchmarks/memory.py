"""Peak memory of one call beyond what the process held before it, in a fresh process.

tracemalloc sees nothing that C++ allocates, and a process that has already worked hides new peaks
behind old ones. So: a new process makes the input, calls once on a tiny input (libraries, thread
pools), resets the kernel's high-water mark, and calls. Linux only, where the mark can be reset.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from claid_ext.benchmarks.synthetic import scene_features

__all__ = ["TASKS", "peak_extra_bytes", "status_bytes"]

TASKS = ("detect", "gram", "ncut")


def peak_extra_bytes(
    task: str, grid: tuple[int, int], dim: int, *, threads: int = 1, device: str | None = None
) -> int:
    """Return by how many bytes the resident set grows at its peak during one call.

    Parameters
    ----------
    task : "detect" (`claid_ext.detect`), "gram" (NumPy's F @ F.T, float32) or "ncut" (one
        normalised cut by scipy's eigh, float64).
    grid, dim : of the synthetic features, float32, which are in memory before and are not counted.
    threads : of the call and of BLAS.
    device : for "detect": None, or a torch device.

    Raises
    ------
    ValueError : an unknown task.
    OSError : the system cannot reset the high-water mark.
    RuntimeError : the process failed; with what it wrote on stderr.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    if not Path("/proc/self/clear_refs").exists():
        raise OSError("peak memory is measured through /proc/self/clear_refs, on Linux only")
    request = json.dumps([task, list(grid), dim, threads, device])
    settings = {
        **{f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")},
        # Else glibc keeps up to 64 MB of what was freed before, and new peaks hide in it.
        "MALLOC_MMAP_THRESHOLD_": str(128 * 1024),
    }
    done = subprocess.run(
        [sys.executable, "-m", "claid_ext.benchmarks.memory", request],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"measuring {task} at {grid} failed: {done.stderr.strip()}")
    return int(done.stdout)


def status_bytes(field: str) -> int:
    """Return a field of this process's memory from /proc/self/status: VmHWM, RssAnon, ..."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def _measure(task: str, grid: tuple[int, int], dim: int, threads: int, device: str | None) -> int:
    """Do the call in this process and return its peak; see `peak_extra_bytes`."""

    def call(features: np.ndarray, shape: tuple[int, int]) -> object:
        if task == "gram":
            return features @ features.T
        if task == "ncut":
            from claid_ext.baselines.ncut import affinity, second_eigenvector

            return second_eigenvector(affinity(features, tau=0.2))
        import claid_ext

        return claid_ext.detect(features, shape, threads=threads, device=device)

    features = scene_features(grid, dim)
    call(scene_features((6, 6), dim), (6, 6))
    # Writing 5 sets VmHWM back to the present resident set (proc(5)).
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = status_bytes("VmRSS")
    call(features, grid)
    return max(0, status_bytes("VmHWM") - before)


if __name__ == "__main__":
    what, (rows, columns), dimension, count, where = json.loads(sys.argv[1])
    print(_measure(what, (rows, columns), dimension, count, where))
