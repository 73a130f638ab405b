"""One suite for all engines, each the real thing with two workers."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")
from claid_ext.errors import WorkerLostError
from claid_ext.scale import extract
from claid_ext.scale.engines import ENGINES, MOST_DEATHS, Options, engine_named
from claid_ext.scale.shard import run_shard
from made import MadeDescriber
from work import Square, noted

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="POSIX signals"),
    # Of Ray itself: what it leaves open, and what it says of accelerators to come.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning",
                               "ignore::DeprecationWarning"),
]  # fmt: skip

HERE = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def cluster():
    """A local cluster of Ray with three CPUs: two for workers, and the free one."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", HERE)
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(num_cpus=3, object_store_memory=100 << 20, include_dashboard=False,
                 log_to_driver=False, logging_level="ERROR")  # fmt: skip
        yield ray
        ray.shutdown()


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return engine_named(request.param)


TWO = Options(workers=2)


def test_each_item_is_done_once_and_each_worker_begins_once(engine, tmp_path):
    items = list(range(3, 23))
    results = list(engine(Square(str(tmp_path), seconds=0.02), items, TWO))
    assert sorted(results) == [(i, i * i) for i in items]
    assert len(noted(str(tmp_path), "try")) == 20
    assert len(noted(str(tmp_path), "begin")) == 2
    assert list(engine(Square(str(tmp_path)), items[:1], TWO)) == [(3, 9)]


def test_an_item_whose_worker_dies_is_given_to_another(engine, tmp_path):
    work = Square(str(tmp_path), kills_at=5, times=1)
    assert sorted(engine(work, range(12), TWO)) == [(i, i * i) for i in range(12)]
    assert len(noted(str(tmp_path), "try 5 ")) == 2


def test_an_item_that_kills_every_worker_ends_the_run(engine, tmp_path):
    work = Square(str(tmp_path), kills_at=5, times=99)
    with pytest.raises(WorkerLostError, match=f"{MOST_DEATHS} workers died at shard"):
        list(engine(work, range(3, 9), TWO))
    assert len(noted(str(tmp_path), "try 5 ")) == MOST_DEATHS


def test_what_a_worker_raises_ends_the_run(engine, tmp_path):
    with pytest.raises(OSError, match="No space left on device: 'somewhere'"):
        list(engine(Square(str(tmp_path), fails_at=4), range(40), TWO))
    assert len(noted(str(tmp_path), "try")) < 40


def test_wrong_options_are_refused(engine, tmp_path):
    work = Square(str(tmp_path))
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        list(engine(work, range(3), Options(workers=0)))


def test_local_takes_no_options_of_ray(tmp_path):
    run, work = engine_named("local"), Square(str(tmp_path))
    for wrong in (Options(address="auto"), Options(gpus_per_worker=0.5)):
        with pytest.raises(ValueError, match="are for the engine ray"):
            list(run(work, range(3), wrong))


def test_ray_leaves_a_cpu_free_and_says_so(cluster, tmp_path):
    run, work = engine_named("ray"), Square(str(tmp_path))
    with pytest.raises(ValueError, match=r"room for 2 workers .* beside one free CPU, wanted 3"):
        list(run(work, range(3), Options(workers=3)))
    with pytest.raises(ValueError, match=r"0 GPUs: room for 0 workers of 0\.5 GPUs"):
        list(run(work, range(3), Options(gpus_per_worker=0.5)))


def test_ray_does_not_wait_for_ever(cluster, tmp_path):
    from claid_ext.scale.engines.ray import run

    with pytest.raises(WorkerLostError, match="no shard finished for 1 seconds; the cluster has"):
        list(run(Square(str(tmp_path), seconds=30), range(3), TWO, silence=1.0))


def test_records_are_the_same_byte_for_byte(engine, make, fifty, content):
    name = engine.__module__.rpartition(".")[2]

    here, there = make(fifty, "here"), make(fifty, "there")
    for shard in here.planned():
        run_shard(here, shard, MadeDescriber())
    report = extract(there, engine=name, describer=MadeDescriber(), options=TWO)
    assert (report.shards, report.photos, report.present) == (7, 51, 0)
    assert report.bad == [(fifty[-1], report.bad[0][1])]
    assert content(there) == content(here)
    again = extract(there, engine=name, describer=MadeDescriber(), options=TWO)
    assert (again.shards, again.present, again.bad) == (0, 7, [])


_DRIVER = """
    import sys
    from claid_ext.scale.engines import Options, engine_named
    from work import Square
    if __name__ == "__main__":
        work = Square(sys.argv[2], seconds=0.2)
        for result in engine_named(sys.argv[1])(work, range(200), Options(workers=2)):
            print(*result, flush=True)
"""


@pytest.mark.parametrize("name", ENGINES)
def test_no_worker_outlives_a_driver_that_is_killed(name, tmp_path):
    if name == "ray":
        pytest.importorskip("ray", reason="Ray is not installed")
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(_DRIVER))
    notes = tmp_path / "notes"
    notes.mkdir()
    env = {**os.environ, "PYTHONPATH": HERE}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", script, name, notes], stdout=subprocess.PIPE, env=env
    ) as driver:
        driver.stdout.readline()
        driver.kill()
    workers = [int(one.split()[1]) for one in noted(str(notes), "begin")]
    assert workers
    for _ in range(600):
        if not any(alive(worker) for worker in workers):
            break
        time.sleep(0.1)
    assert not any(alive(worker) for worker in workers)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
