"""Hours of detecting, adding and searching in one process: is memory flat?

    python bench/soak.py --minutes 10

`bench/serve_load.py --soak` asks the same of `claid serve`. Photos come and go, features have
another size each time, and each query is described anew: nothing is answered by a cache.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import claid_ext
import numpy as np
from claid_ext import InstanceIndex, Query
from claid_ext.benchmarks.machine import describe, to_markdown
from claid_ext.weights import package_file
from serve_load import BOX, QUERIES, growth, make_index, resident

SAMPLES = 40
SIDES = (8, 45)  # patches


class Soaked(NamedTuple):
    """What was done, how often; and MiB of memory, sampled at equal times."""

    done: Counter[str]
    memory: list[float]


def detect_once(rng: np.random.Generator) -> None:
    """Make the trees of two images of a size at random; now and then with wrong arguments."""
    height, width = rng.integers(*SIDES, 2).tolist()
    features = rng.normal(size=(2, height * width, 96)).astype(np.float32)
    trees = claid_ext.detect(features, (height, width), tau=0.1, threads=2)
    assert len(trees) == 2
    try:
        claid_ext.detect(features[:, 1:], (height, width))
    except ValueError:
        return
    raise AssertionError("features that do not fit the grid were taken")


def soak(folder: Path, seconds: float, photos: int = 300) -> Soaked:
    """Do everything in turn for a while."""
    make_index(folder / "index", photos)
    names = [package_file("scikit-image", f"skimage/data/{name}") for name in QUERIES]
    rng = np.random.default_rng(0)
    done: Counter[str] = Counter()
    memory: list[float] = []
    with InstanceIndex.open(folder / "index") as index:
        start = time.monotonic()
        while (passed := time.monotonic() - start) < seconds:
            if passed >= len(memory) * seconds / SAMPLES:
                memory.append(resident(os.getpid()))
            detect_once(rng)
            done["detect"] += 2
            name = names[done["search"] % len(names)]
            (hits,) = index.search(Query(name, boxes=[BOX]), 10)
            assert hits[0].image == str(name)
            done["search"] += 1
            index.remove(str(name))
            assert index.add([name]).added == 1
            done["remove and add"] += 1
    return Soaked(done, memory)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    print(to_markdown(describe()))
    with tempfile.TemporaryDirectory() as folder:
        done, memory = soak(Path(folder), 60 * args.minutes)
    print(f"{args.minutes:g} minutes:", ", ".join(f"{n} x {what}" for what, n in done.items()))
    print(
        f"memory in MiB: {memory[0]:.0f} first, {memory[-1]:.0f} last, {max(memory):.0f} most, "
        f"grown by {growth(memory):.1f}"
    )


if __name__ == "__main__":
    main()
