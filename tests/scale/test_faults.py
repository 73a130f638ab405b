"""Processes killed at any moment, and full disks: afterwards every image is there exactly once."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")
from claid_ext.scale import extract
from claid_ext.scale.engines import Options
from kill_rounds import run_rounds
from made import MadeDescriber

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and limits")

ROUNDS = {"local": 14, "ray": 6}  # of 20; bench/kill_rounds.py does 200


@pytest.mark.parametrize("engine", list(ROUNDS))
def test_killed_at_any_moment_every_image_is_there_once(engine, tmp_path):
    if engine == "ray":
        pytest.importorskip("ray", reason="Ray is not installed")
    counts = run_rounds(tmp_path, ROUNDS[engine], engine, seed=len(engine))
    assert sum(counts.values()) == ROUNDS[engine] + counts["data sets"]


_FULL = """
    import resource, sys
    from claid_ext.scale import DataSet
    from claid_ext.scale.shard import run_shard
    from made import MadeDescriber
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    dataset = DataSet(sys.argv[1])
    try:
        for shard in dataset.planned():
            run_shard(dataset, shard, MadeDescriber())
    except OSError as error:
        print(f"OSError {error.filename}")
"""


def test_a_full_disk_is_an_oserror_and_the_shard_is_not_done(make, fifty, content):
    """A limit on the size of files, as a small disk would have it, needs no mount."""
    dataset, other = make(fifty), make(fifty, "other")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(_FULL), dataset.address],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.startswith(f"OSError {dataset.address}/")
    assert dataset.done() == []
    assert not list(Path(dataset.address).rglob(".*.part"))
    for one in (dataset, other):
        extract(one, describer=MadeDescriber(), options=Options(workers=1))
    assert content(dataset) == content(other)
