"""How cost grows with the number of patches and of channels, beside F @ F.T and one scipy NCut."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import claid_ext
from claid_ext.baselines.ncut import affinity, second_eigenvector
from claid_ext.benchmarks.machine import one_thread
from claid_ext.benchmarks.memory import peak_extra_bytes
from claid_ext.benchmarks.output import figure, markdown_table
from claid_ext.benchmarks.synthetic import scene_features
from claid_ext.benchmarks.timing import interleave
from claid_ext.progress import progress

__all__ = ["CHANNELS", "PATCHES", "Point", "draw", "exponent", "measure", "to_markdown"]

PATCHES = (300, 600, 1200, 2400, 4800, 9600, 20000)
CHANNELS = (64, 128, 256, 384, 768, 1536)
FIXED_CHANNELS = 768  # while the patches grow: ViT-B
FIXED_PATCHES = 2400  # while the channels grow: about 45x60
_LARGEST_NCUT = 5000  # patches; its time grows with the cube, its matrices with the square
_TAU = 0.2

SERIES = {
    "cpu1": "CLAID (C++), 1 thread",
    "cpu2": "CLAID (C++), 2 threads",
    "cuda": "CLAID (CUDA)",
    "gram": "NumPy F @ F.T, 1 thread",
    "ncut": "one scipy NCut, 1 thread",
}
_MEMORY_TASKS = {"cpu1": ("detect", 1), "gram": ("gram", 1), "ncut": ("ncut", 1)}


@dataclass(frozen=True)
class Point:
    """One series at one size: patches, channels, median seconds, peak extra bytes or None."""

    series: str
    patches: int
    channels: int
    seconds: float
    peak_bytes: int | None


def measure(
    patches: Sequence[int] = PATCHES,
    channels: Sequence[int] = CHANNELS,
    *,
    rounds: int = 3,
    memory: bool = True,
    cuda: bool = False,
) -> dict[str, list[Point]]:
    """Time every series over "patches" (768 channels) and over "channels" (2400 patches).

    Features are synthetic (`claid_ext.benchmarks.synthetic`), on grids of aspect 3 to 4. At each
    size the series are timed in turn, `rounds` times at 5000 patches and above, up to five times as
    often below. Peak memory is that of a fresh process each.
    """
    sweeps = {
        "patches": [(n, FIXED_CHANNELS) for n in patches],
        "channels": [(FIXED_PATCHES, d) for d in channels],
    }
    found: dict[str, list[Point]] = {}
    for name, sizes in sweeps.items():
        found[name] = []
        for n, d in progress(sizes, total=len(sizes), description=name, unit="size"):
            found[name] += _measure_size(n, d, rounds, memory, cuda)
    return found


def exponent(points: Sequence[Point], of: str, series: str) -> float:
    """Return the least-squares slope of log seconds over log `of` ("patches" or "channels").

    NaN for fewer than two points.
    """
    chosen = [p for p in points if p.series == series]
    if len(chosen) < 2:
        return math.nan
    x = np.log([getattr(p, of) for p in chosen])
    return float(np.polyfit(x, np.log([p.seconds for p in chosen]), 1)[0])


def to_dict(found: dict[str, list[Point]]) -> dict[str, Any]:
    """Return the points and the exponents for JSON."""
    return {
        of: {
            "points": [asdict(p) for p in points],
            "exponents": {s: exponent(points, of, s) for s in _series(points)},
        }
        for of, points in found.items()
    }


def to_markdown(found: dict[str, list[Point]]) -> str:
    """Return one table per sweep: milliseconds, with peak extra megabytes in brackets."""
    parts = []
    for of, points in found.items():
        series = _series(points)
        sizes = sorted({getattr(p, of) for p in points})
        at = {(p.series, getattr(p, of)): p for p in points}
        rows = [[str(size), *[_cell(at.get((s, size))) for s in series]] for size in sizes]
        rows.append(["exponent", *[f"{exponent(points, of, s):.2f}" for s in series]])
        parts.append(markdown_table([of, *[f"{SERIES[s]}, ms (MB)" for s in series]], rows))
    return "\n".join(parts)


def draw(found: dict[str, list[Point]]) -> Any:
    """Return the log-log plots: time over patches, time over channels, peak memory over patches."""
    drawn = figure(12.0, 4.0)
    axes = drawn.subplots(1, 3)
    for axis, of in zip(axes, ("patches", "channels"), strict=False):
        for series in _series(found[of]):
            points = [p for p in found[of] if p.series == series]
            slope = exponent(found[of], of, series)
            axis.loglog(
                [getattr(p, of) for p in points],
                [1e3 * p.seconds for p in points],
                marker=".",
                label=f"{SERIES[series]} (exponent {slope:.2f})",
            )
        axis.set_xlabel(of)
        axis.set_ylabel("ms")
    axes[0].set_title(f"{FIXED_CHANNELS} channels", fontsize=9)
    axes[1].set_title(f"{FIXED_PATCHES} patches", fontsize=9)
    for series in _MEMORY_TASKS:
        points = [p for p in found["patches"] if p.series == series and p.peak_bytes]
        axes[2].loglog(
            [p.patches for p in points],
            [(p.peak_bytes or 0) / 1e6 for p in points],
            marker=".",
            label=SERIES[series],
        )
    axes[2].set_xlabel("patches")
    axes[2].set_ylabel("peak extra MB")
    axes[2].set_title(f"{FIXED_CHANNELS} channels", fontsize=9)
    for axis in axes:
        axis.set_ylim(top=30 * axis.get_ylim()[1])  # room for the legend
        axis.grid(which="both", alpha=0.2)
        axis.legend(fontsize=7)
    return drawn


def _measure_size(n: int, d: int, rounds: int, memory: bool, cuda: bool) -> list[Point]:
    # Grids of 3 to 4, as photos are; so the number of patches is only about n.
    height = max(1, round(math.sqrt(n * 3 / 4)))
    grid = (height, max(1, round(n / height)))
    features = scene_features(grid, d)
    tasks: dict[str, Callable[[], object]] = {
        "cpu1": lambda: claid_ext.detect(features, grid, tau=_TAU, threads=1, device="cpu"),
        "cpu2": lambda: claid_ext.detect(features, grid, tau=_TAU, threads=2, device="cpu"),
        "gram": lambda: features @ features.T,
    }
    if cuda:
        tasks["cuda"] = lambda: claid_ext.detect(features, grid, tau=_TAU, device="cuda")
    if len(features) <= _LARGEST_NCUT:
        tasks["ncut"] = lambda: second_eigenvector(affinity(features, tau=_TAU))
    with one_thread():
        timings = interleave(tasks, rounds * _repeats(len(features)))
    points = []
    for series in tasks:
        peak = None
        if memory and series in _MEMORY_TASKS:
            task, threads = _MEMORY_TASKS[series]
            peak = peak_extra_bytes(task, grid, d, threads=threads)
        points.append(Point(series, len(features), d, timings.median(series), peak))
    return points


def _repeats(patches: int) -> int:
    """By how much to multiply the rounds of a size: small ones are quick and noisier."""
    return min(5, max(1, _LARGEST_NCUT // patches))


def _series(points: Sequence[Point]) -> list[str]:
    return [s for s in SERIES if any(p.series == s for p in points)]


def _cell(point: Point | None) -> str:
    if point is None:
        return "-"
    memory = "" if point.peak_bytes is None else f" ({point.peak_bytes / 1e6:.1f})"
    return f"{1e3 * point.seconds:.2f}{memory}"
