"""Print the speed claims of this project as ratios of two things timed in turn in one process.

    python bench/ratios.py                    # all of them, about two minutes
    python bench/ratios.py --only matmul      # those whose name holds a word
    python bench/ratios.py --rounds 41 --json ratios.json
    python bench/ratios.py --only real --features FILE.npz --tau 0.4

Each line: the median of the rounds' ratios with the smallest and the largest, the target beside
it, and both medians. Every answer is checked against `claid_ext.reference` first. Nothing fails on
time. Each comparison runs in a process of its own, where OpenBLAS chooses its kernels itself:
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are left out of its environment.

Features are made (`claid_ext.benchmarks.synthetic`: ellipses on a smooth ground). With --features,
each array (height, width, channels) of an .npz file, a photo's, is compared too; `--only real`
takes no others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import claid_ext
import numpy as np
from claid_ext import _core, reference
from claid_ext.benchmarks import machine
from claid_ext.benchmarks.memory import peak_extra_bytes
from claid_ext.benchmarks.synthetic import scene_features
from claid_ext.benchmarks.timing import Ratio, interleave

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


def detect_to_gram_of(path: Path, name: str, tau: float) -> Callable[[], tuple[Task, Task]]:
    def tasks() -> tuple[Task, Task]:
        with np.load(path) as arrays:
            array = np.asarray(arrays[name], np.float32)
        grid, features = array.shape[:2], array.reshape(-1, array.shape[2])
        if claid_ext.detect(features, grid, tau=tau) != reference.detect(features, grid, tau=tau):
            sys.exit(f"detect and the reference disagree on {name} of {path}")
        return (
            lambda: claid_ext.detect(features, grid, tau=tau, threads=1),
            lambda: features @ features.T,
        )

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


# detect / F @ F.T at most, where int8 products have an instruction of their own and elsewhere.
GRAM_TARGETS = {True: (0.35, 0.33, 0.50), False: (0.64, 0.60, 0.76)}
LEVELS_WITHOUT_INT8_DOT = ("scalar", "avx2", "avx512", "neon")
GRAM_SIZES = ((45, 60, 768), (45, 100, 768), (25, 36, 384))


def gram_targets() -> tuple[float, ...]:
    return GRAM_TARGETS[_core.simd_level() not in LEVELS_WITHOUT_INT8_DOT]


COMPARISONS = (
    *(
        Comparison(
            f"matmul {h}x{w}x{d}", "detect", "F @ F.T", detect_to_gram((h, w), d), target, True
        )
        for (h, w, d), target in zip(GRAM_SIZES, gram_targets(), strict=True)
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
        1.9,
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


def comparisons(args: argparse.Namespace) -> list[Comparison]:
    """Return those asked for: the claims, and one for each photo's features."""
    real: list[Comparison] = []
    if args.features:
        with np.load(args.features) as arrays:
            shapes = {name: arrays[name].shape for name in arrays.files}
        for name, shape in shapes.items():
            if len(shape) != 3:
                sys.exit(f"{args.features}: {name} must be (height, width, channels), got {shape}")
            tasks = detect_to_gram_of(args.features, name, args.tau)
            size = "x".join(map(str, shape))
            real.append(
                Comparison(
                    f"real {name} {size}", "detect", "F @ F.T", tasks, gram_targets()[2], True
                )
            )
    return [c for c in (*COMPARISONS, *real) if args.only in c.name]


def measure(comparison: Comparison, rounds: int) -> dict[str, object]:
    """Time one comparison in this process."""
    with machine.one_thread():
        top, bottom = comparison.tasks()
        timings = interleave(
            {"top": top, "bottom": bottom}, max(3, rounds // comparison.rounds_divisor), warmup=2
        )
    return {
        "name": comparison.name,
        "ratio": f"{comparison.top} / {comparison.bottom}",
        **asdict(timings.ratio("top", to="bottom")),
        "target": f"{'<=' if comparison.at_most else '>='} {comparison.target:g}",
        "top_ms": timings.median("top") * 1e3,
        "bottom_ms": timings.median("bottom") * 1e3,
    }


def in_own_process(name: str) -> dict[str, Any]:
    """Run this script for one comparison, with the BLAS kernels that suit the processor."""
    chosen = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    environment = {key: value for key, value in os.environ.items() if key not in chosen}
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--worker", name],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def print_line(result: dict[str, Any], blas: list[dict[str, Any]]) -> None:
    ratio = Ratio(result["median"], result["low"], result["high"])
    kernels = ", ".join(sorted({str(pool["kernel"]) for pool in blas}))
    print(
        f"{result['name']:28s} {result['ratio']} = {ratio}   target {result['target']}"
        f"   [{result['top_ms']:.2f} ms, {result['bottom_ms']:.2f} ms; BLAS {kernels}]",
        flush=True,
    )


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
    parser.add_argument("--features", type=Path, help="an .npz of photos' features to compare too")
    parser.add_argument("--tau", type=float, default=0.2, help="for --features (default 0.2)")
    parser.add_argument("--json", type=Path, help="also write the figures and the machine here")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        (chosen,) = (c for c in comparisons(args) if c.name == args.worker)
        answer = {"result": measure(chosen, args.rounds), "machine": machine.describe()}
        print(json.dumps(answer))
        return
    results: list[dict[str, Any]] = []
    described = machine.describe()
    for comparison in comparisons(args):
        answer = in_own_process(comparison.name)
        described = answer["machine"]
        print_line(answer["result"], described["blas"])
        results.append(answer["result"])
    if args.only in "memory 45x100x768":
        results.append(measure_memory((45, 100), 768))
    print(machine.to_markdown(described))
    if args.json:
        args.json.write_text(json.dumps({"machine": described, "ratios": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
