"""Killed processes and full disks: what every kind of store then holds."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faiss")

from claid_ext.index.ranking import VectorQuery
from store_checks import EVERYTHING, content, ranking, wanted_content
from stores import KINDS, asked, entry

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX limits and signals")


def in_child(code, *arguments, **options):
    """Start Python code in a process of its own, the tests' modules at hand."""
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "scale")]
    paths = f"import sys; sys.path[:0] = {folders!r}\n"
    command = [sys.executable, "-W", "ignore", "-c", paths + textwrap.dedent(code)]
    return subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **options
    )


_WRITER = """
    from pathlib import Path
    from stores import KINDS, entry
    with KINDS[sys.argv[1]].in_use() as kind:
        store = kind.open(Path(sys.argv[2]))
        for batch in range(10**6):
            print(batch, flush=True)
            store.upsert([entry(f"{batch} {i}", rows=3) for i in range(4)])
            if batch % 5 == 4:
                store.settle(whole=batch % 2 == 0)
"""


@POSIX
@pytest.mark.parametrize("name", ["flat with a base", "cells", "milvus"])
def test_killed_at_any_moment_it_holds_batches_wholly_or_not_at_all(name, tmp_path):
    rng = np.random.default_rng(len(name))
    place = tmp_path / "store"
    with KINDS[name].in_use() as kind:
        kind.make(place).close()
        held = -1
        for lines in (1, 4, 11, 26):
            with in_child(_WRITER, name, place) as writer:
                watchdog = threading.Timer(60, writer.kill)
                watchdog.start()
                try:
                    said = [writer.stdout.readline() for _ in range(lines)]
                    time.sleep(rng.uniform(0, 0.004))
                finally:
                    watchdog.cancel()
                    writer.kill()
            assert said[-1] == f"{lines - 1}\n"
            store = kind.open(place)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # the base is the old one or the new one
                got = content(store)
                with store.reading() as view:
                    assert len(ranking(view, VectorQuery(asked(1)), EVERYTHING)) == len(got)
            batches = sorted({int(path.split("/")[-1].split()[0]) for path in got})
            assert len(batches) >= max(held, lines - 1)  # what a batch had begun after is there
            assert batches == list(range(len(batches)))
            its = [entry(f"{batch} {i}", rows=3) for batch in batches for i in range(4)]
            assert got == wanted_content(its)
            store.upsert([entry("after")])
            assert store.delete_images(["/i/after"]) == 1
            store.close()
            held = len(batches)


_FULL = """
    import resource
    from pathlib import Path
    from stores import KINDS, entry
    with KINDS[sys.argv[1]].in_use() as kind:
        store = kind.open(Path(sys.argv[2]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            for batch in range(10**6):
                store.upsert([entry(f"{batch} {i}", rows=200) for i in range(3)])
                print(batch, flush=True)
                if batch % 10 == 9:
                    store.settle()
        except OSError as error:
            print(f"{type(error).__name__}: {error}")
        store.close()
"""


@POSIX
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.in_files])
def test_a_full_disk_is_an_oserror_and_what_was_stored_is_kept(name, tmp_path):
    """A limit on the size of files, as a small disk would have it, needs no mount."""
    place = tmp_path / "store"
    with KINDS[name].in_use() as kind:
        kind.make(place).close()
        with in_child(_FULL, name, place) as writer:
            *batches, error = writer.communicate(timeout=60)[0].splitlines()
        assert writer.returncode == 0
        assert error.startswith("OSError")
        assert str(place) in error
        assert len(batches) > 5
        store = kind.open(place)
        its = [entry(f"{batch} {i}", rows=200) for batch in batches for i in range(3)]
        assert content(store) == wanted_content(its)
        store.upsert([entry("after")])
        store.settle(whole=True)
        assert len(content(store)) == len(its) + 1
        store.close()
