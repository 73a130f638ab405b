"""Print the speed claims of this project as ratios of two things timed in turn in one process.

    python bench/ratios.py                    # all of them, about a minute
    python bench/ratios.py --only matmul      # those whose name holds a word
    python bench/ratios.py --rounds 41 --json ratios.json

Each line: the median of the rounds' ratios with the smallest and the largest, the target beside
it, and both medians. Every answer is checked against `claid_ext.reference` first. Nothing fails on
time.
Features are made (`claid_ext.benchmarks.synthetic`): ellipses on a smooth ground.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import claid_ext
import numpy as np
from claid_ext import reference
from claid_ext.benchmarks import machine
from claid_ext.benchmarks.memory import peak_extra_bytes
from claid_ext.benchmarks.synthetic import scene_features
from claid_ext.benchmarks.timing import interleave

Task = Callable[[], object]


@dataclass(frozen=True)
class Comparison:
    """`slow` over `fast` must be at least the target, or at most where `at_most` is set."""

    name: str
    top: str
    bottom: str
    tasks: Callable[[], tuple[Task, Task]]
    target: float
    at_most: bool = False
    rounds_divisor: int = 1  # for tasks of seconds
    threads: int = 1


def checked_scene(grid: tuple[int, int], dim: int) -> np.ndarray:
    """Features on which `detect` has just given the reference's tree."""
    features = scene_features(grid, dim)
    tree = claid_ext.detect(features, grid, threads=1)
    if tree != reference.detect(features, grid):
        sys.exit(f"detect and the reference disagree at {grid} x {dim}: no time is worth printing")
    print(f"  {grid[0]}x{grid[1]}x{dim}: {tree!r}", file=sys.stderr)
    return features


def detect_to_gram(grid: tuple[int, int], dim: int) -> Callable[[], tuple[Task, Task]]:
    def tasks() -> tuple[Task, Task]:
        features = checked_scene(grid, dim)
        return lambda: claid_ext.detect(features, grid, threads=1), lambda: features @ features.T

    return tasks


def reference_to_detect(grid: tuple[int, int], dim: int) -> Callable[[], tuple[Task, Task]]:
    def tasks() -> tuple[Task, Task]:
        features = checked_scene(grid, dim)
        return (
            lambda: reference.detect(features, grid),
            lambda: claid_ext.detect(features, grid, threads=1),
        )

    return tasks


def ncut_to_detect(grid: tuple[int, int], dim: int, solver: str) -> Callable[[], tuple[Task, Task]]:
    def tasks() -> tuple[Task, Task]:
        from claid_ext.baselines.ncut import affinity, second_eigenvector

        features = checked_scene(grid, dim)
        return (
            lambda: second_eigenvector(affinity(features, tau=0.2), solver=solver),
            lambda: claid_ext.detect(features, grid, threads=1),
        )

    return tasks


def one_to_two_threads(grid: tuple[int, int], dim: int) -> Callable[[], tuple[Task, Task]]:
    def tasks() -> tuple[Task, Task]:
        batch = np.stack([scene_features(grid, dim, seed=seed) for seed in range(8)])
        if claid_ext.detect(batch, grid, threads=2) != claid_ext.detect(batch, grid, threads=1):
            sys.exit("two threads and one disagree")
        return (
            lambda: claid_ext.detect(batch, grid, threads=1),
            lambda: claid_ext.detect(batch, grid, threads=2),
        )

    return tasks


COMPARISONS = (
    *(
        Comparison(
            f"matmul {h}x{w}x{d}", "detect", "F @ F.T", detect_to_gram((h, w), d), target, True
        )
        for h, w, d, target in ((45, 60, 768, 0.70), (45, 100, 768, 0.65), (25, 36, 384, 1.0))
    ),
    *(
        Comparison(
            f"reference {h}x{w}x{d}",
            "reference",
            "detect",
            reference_to_detect((h, w), d),
            15,
            rounds_divisor=3,
        )
        for h, w, d in ((45, 60, 768), (25, 36, 384))
    ),
    Comparison(
        "threads, 8 of 45x60x768",
        "1 thread",
        "2 threads",
        one_to_two_threads((45, 60), 768),
        1.8,
        rounds_divisor=2,
        threads=2,
    ),
    *(
        Comparison(
            f"ncut {solver} 45x60x768",
            "scipy NCut",
            "detect",
            ncut_to_detect((45, 60), 768, solver),
            60,
            rounds_divisor=7,
        )
        for solver in ("generalized", "eigh")
    ),
)
MEMORY_TARGET_MB = 40


def measure(comparison: Comparison, rounds: int) -> dict[str, object]:
    """Time one comparison and print its line."""
    with machine.one_thread():
        top, bottom = comparison.tasks()
        timings = interleave(
            {"top": top, "bottom": bottom}, max(3, rounds // comparison.rounds_divisor), warmup=2
        )
    ratio = timings.ratio("top", to="bottom")
    sign = "<=" if comparison.at_most else ">="
    print(
        f"{comparison.name:28s} {comparison.top} / {comparison.bottom} = {ratio}"
        f"   target {sign} {comparison.target:g}"
        f"   [{timings.median('top') * 1e3:.2f} ms, {timings.median('bottom') * 1e3:.2f} ms]",
        flush=True,
    )
    return {
        "name": comparison.name,
        "ratio": f"{comparison.top} / {comparison.bottom}",
        **asdict(ratio),
        "target": f"{sign} {comparison.target:g}",
        "top_ms": timings.median("top") * 1e3,
        "bottom_ms": timings.median("bottom") * 1e3,
    }


def measure_memory(grid: tuple[int, int], dim: int) -> dict[str, object]:
    """Measure and print the peak memory of one `detect`."""
    peak = peak_extra_bytes("detect", grid, dim) / 1e6
    name = f"memory {grid[0]}x{grid[1]}x{dim}"
    print(f"{name:28s} peak extra = {peak:.1f} MB   target <= {MEMORY_TARGET_MB} MB", flush=True)
    return {"name": name, "megabytes": peak, "target": f"<= {MEMORY_TARGET_MB}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21, help="of the fast pairs (default 21)")
    parser.add_argument("--only", default="", help="only those whose name holds this word")
    parser.add_argument("--json", type=Path, help="also write the figures and the machine here")
    args = parser.parse_args()
    results = [measure(c, args.rounds) for c in COMPARISONS if args.only in c.name]
    if args.only in "memory 45x100x768":
        results.append(measure_memory((45, 100), 768))
    described = machine.describe()
    print(machine.to_markdown(described))
    if args.json:
        args.json.write_text(json.dumps({"machine": described, "ratios": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
