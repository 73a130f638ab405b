"""Extractions that are killed at random moments, and what they leave; see bench/kill_rounds.py.

A driver extracts made photos in a process of its own. It, or one of its workers, is killed, or
workers kill themselves between two writes of a shard; then the next round goes on with the same
data set. Once all is done, every photo must be there exactly once, as if nothing had happened.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
from claid_ext.scale import DataSet, create, plan
from claid_ext.scale.planning import listed
from claid_ext.scale.shard import run_shard
from killing import WRITES
from made import MadeDescriber, made_photos

WAYS = ("driver", "worker", "between writes")
PHOTOS, SHARD = 120, 8

_DRIVER = """
    import sys
    from claid_ext.scale import DataSet, extract
    from claid_ext.scale.engines import Options
    from killing import Slow

    if __name__ == "__main__":
        print("begun", flush=True)
        dataset = DataSet(sys.argv[2])
        extract(dataset, engine=sys.argv[1], describer=Slow(), options=Options(workers=2))
"""


def run_rounds(folder: Path, rounds: int, engine: str, seed: int) -> dict[str, int]:
    """Kill so many extractions; return how many of each way there were, and of data sets."""
    rng = np.random.default_rng(seed)
    photos = made_photos(folder / "photos", PHOTOS)
    wanted = _data_set(folder / "wanted", photos)
    for shard in wanted.planned():
        run_shard(wanted, shard, MadeDescriber())
    script = folder / "driver.py"
    script.write_text(textwrap.dedent(_DRIVER))
    counts = dict.fromkeys((*WAYS, "data sets"), 0)
    for number in itertools.count():
        dataset = _data_set(folder / f"data {number}", photos)
        while len(dataset.done()) < len(dataset.planned()) and rounds:
            way = WAYS[int(rng.integers(len(WAYS)))]
            before = dataset.done()
            _run_and_kill(script, engine, dataset, way, rng)
            assert set(before) <= set(dataset.done())
            counts[way] += 1
            rounds -= 1
        _run_and_kill(script, engine, dataset, None, rng)
        _check(dataset, wanted)
        counts["data sets"] += 1
        if not rounds:
            return counts


def _data_set(place: Path, photos: list[str]) -> DataSet:
    dataset = create(str(place), MadeDescriber(), shard_photos=SHARD)
    plan(dataset, listed(photos))
    return dataset


def _run_and_kill(script, engine, dataset, way, rng) -> None:
    """Run the driver, and kill it or a worker at a random moment; None: let it end."""
    here = str(Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": here}
    if way == "between writes":
        env[WRITES] = str(rng.integers(0, 15))
    command = [sys.executable, "-W", "ignore", script, engine, dataset.address]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if way else None, env=env
    ) as driver:
        driver.stdout.readline()
        if way in {"driver", "worker"}:
            _wait_for_a_part(driver, dataset)
            time.sleep(float(rng.uniform(0, 0.3)))
        if way == "driver":
            driver.kill()
        elif way == "worker" and (workers := _workers(driver.pid)):
            os.kill(int(rng.choice(workers)), signal.SIGKILL)
        driver.communicate()
    if way is None:
        assert driver.returncode == 0


def _wait_for_a_part(driver, dataset) -> None:
    """Wait until the workers are at work."""
    before = len(dataset.done())
    while driver.poll() is None and len(dataset.done()) == before:
        time.sleep(0.02)


def _workers(driver: int) -> list[int]:
    """The processes below a driver that extract: Ray's actors, or the pool's workers."""
    parents, names = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat, line = (entry / "stat").read_text(), (entry / "cmdline").read_text()
        except OSError:
            continue
        parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
        names[int(entry.name)] = line
    below = {driver}
    for _ in range(4):
        below |= {child for child, parent in parents.items() if parent in below}
    wanted = ("ray::ShardWorker", "spawn_main")
    return [pid for pid in below if any(name in names.get(pid, "") for name in wanted)]


def _check(dataset: DataSet, wanted: DataSet) -> None:
    """Whether every photo is there once, with the very bytes that an untroubled run writes."""
    assert dataset.done() == wanted.done()
    keys = np.concatenate([dataset.vectors(shard).keys for shard in dataset.done()])
    assert len(np.unique(keys)) == len(keys)
    uris = [uri for shard in dataset.done() for uri in dataset.images(shard)["uri"].to_pylist()]
    assert len(set(uris)) == len(uris) == PHOTOS
    for shard in dataset.done():
        for name in (f"records/part-{shard}.bin", f"regions/part-{shard}.parquet",
                     f"images/part-{shard}.parquet"):  # fmt: skip
            assert dataset.files.read(name) == wanted.files.read(name)
    left = [path for path in Path(dataset.address).rglob(".*.part") if "images" in path.parts]
    assert left == []
