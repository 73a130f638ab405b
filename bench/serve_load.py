"""How `claid serve` bears many searches at once, and hours of them: times, refusals, memory.

    python bench/serve_load.py                  # 50 clients on 1,000 photos
    python bench/serve_load.py --soak 10        # then 10 minutes of 8 clients: is memory flat?

The index holds a few of scikit-image's photos, which are what is searched for, and made records
as large as those of photos of 640 x 480: both stages work as hard as on real ones. Queries are
described once, before the clock starts, as the server keeps what it has described.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from claid_ext import InstanceIndex, RegionDescriptor
from claid_ext.benchmarks.machine import describe, to_markdown
from claid_ext.index import Entry
from claid_ext.record import CellMap, ImageRecord
from claid_ext.regions.value import Regions
from claid_ext.weights import package_file

MOST_GROWTH = 24  # MiB, of a short soak: caches that are still filling, and the allocator's
QUERIES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
BOX = (60, 60, 260, 260)
SIZE = (480, 640)
REGIONS = 36
MIB = 1 << 20
PATIENCE = 600  # seconds that a client waits


class Load(NamedTuple):
    """What clients saw.

    Attributes
    ----------
    seconds : of each answer, float (n,).
    statuses : how often each HTTP status came.
    wall : seconds from the first question to the last answer.
    """

    seconds: np.ndarray
    statuses: Counter[int]
    wall: float


def made_record(rng: np.random.Generator, dim: int) -> ImageRecord:
    """A record with vectors and codes at random, of the sizes of a real one."""
    low = rng.uniform(0, [[SIZE[1] * 0.7, SIZE[0] * 0.7]], (REGIONS, 2))
    boxes = np.concatenate([low, low + rng.uniform(30, 150, (REGIONS, 2))], axis=1)
    vectors = rng.normal(size=(REGIONS, dim))
    vectors *= 254 / np.linalg.norm(vectors, axis=1, keepdims=True)
    maps = tuple(
        CellMap(
            name,
            rng.integers(0, 256, (SIZE[0] // side, SIZE[1] // side, 16), dtype=np.uint8),
            (float(side), float(side)),
        )
        for name, side in (("blocks.4", 16), ("blocks.6", 32))
    )
    regions = Regions.of_boxes(SIZE, boxes, rng.integers(1, 6, REGIONS))
    return ImageRecord(regions, np.rint(vectors).clip(-127, 127).astype(np.int8), maps)


def make_index(folder: Path, photos: int) -> None:
    """Make the index."""
    rng = np.random.default_rng(0)
    descriptor = RegionDescriptor("efficientnet_lite0")
    with InstanceIndex.create(folder, descriptor=descriptor, regions="grid") as index:
        index.add([package_file("scikit-image", f"skimage/data/{name}") for name in QUERIES])
        made = photos - len(QUERIES)
        index.store.upsert(
            [Entry(f"/made/{i:05}.jpg", made_record(rng, index.dim), (1, 1)) for i in range(made)]
        )


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[str, int]]:
    """`claid serve` in a process of its own: its address and number. It must stop cleanly."""
    command = [sys.executable, "-m", "claid_ext", "serve", str(folder), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.search(r"http://\S+", line):
                    break
            else:
                raise RuntimeError("claid serve did not start")
            yield found[0].rstrip("/"), process.pid
        finally:
            process.terminate()
            if process.wait(60) != 0:
                raise RuntimeError(f"claid serve ended with {process.returncode}")


def asked(number: int, k: int = 30) -> dict[str, Any]:
    """The question number `number`: one of a few queries."""
    return {"photo": number % len(QUERIES) + 1, "boxes": [BOX], "k": k}


def describe_queries(url: str) -> None:
    """Ask each once, so that the server has described it."""
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        for number in range(len(QUERIES)):
            client.post("/api/search", json=asked(number)).raise_for_status()


def load(url: str, clients: int, *, each: int | None = None, until: float | None = None) -> Load:
    """Have clients ask at once: `each` questions, or until a time (`time.monotonic`)."""
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    errors: list[BaseException] = []

    def ask(first: int) -> None:
        try:
            with httpx.Client(base_url=url, timeout=PATIENCE) as client:
                for number in itertools.count() if each is None else range(each):
                    if until is not None and time.monotonic() > until:
                        return
                    start = time.perf_counter()
                    answer = client.post("/api/search", json=asked(first + number))
                    seconds.append(time.perf_counter() - start)
                    statuses[answer.status_code] += 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Load(np.array(seconds), statuses, time.perf_counter() - start)


def resident(pid: int) -> float:
    """MiB of memory that a process has, by Linux."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def soak(url: str, pid: int, seconds: float, clients: int = 8) -> tuple[Load, list[float]]:
    """Ask for a while; return what clients saw, and the memory, sampled 40 times."""
    memory: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(seconds / 40):
            memory.append(resident(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        seen = load(url, clients, until=time.monotonic() + seconds)
    finally:
        stop.set()
        watcher.join()
    return seen, memory


def growth(memory: list[float]) -> float:
    """MiB by which the last quarter's median is above that of the second quarter."""
    quarter = len(memory) // 4
    return float(np.median(memory[-quarter:]) - np.median(memory[quarter : 2 * quarter]))


def described(seen: Load) -> str:
    """Say what clients saw, in a line."""
    middle, high = np.percentile(seen.seconds, [50, 95])
    counts = ", ".join(f"{count} x {status}" for status, count in sorted(seen.statuses.items()))
    rate = len(seen.seconds) / seen.wall
    return f"{counts}; median {middle:.2f} s, p95 {high:.2f} s; {rate:.1f} answers/s"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--each", type=int, default=4, help="searches per client (default: 4)")
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES")
    args = parser.parse_args()
    print(to_markdown(describe()))
    with tempfile.TemporaryDirectory() as folder:
        make_index(Path(folder) / "index", args.photos)
        with served(Path(folder) / "index") as (url, pid):
            describe_queries(url)
            print("one client: ", described(load(url, 1, each=10)))
            print(f"{args.clients} clients: ", described(load(url, args.clients, each=args.each)))
            if args.soak:
                seen, memory = soak(url, pid, 60 * args.soak)
                print(f"{args.soak:g} minutes of 8 clients: ", described(seen))
                print(
                    f"memory in MiB: {memory[0]:.0f} first, {memory[-1]:.0f} last, "
                    f"{max(memory):.0f} most, grown by {growth(memory):.1f}"
                )


if __name__ == "__main__":
    main()
