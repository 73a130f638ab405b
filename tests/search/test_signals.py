"""Commands that are stopped: at any moment, without a trace of Python, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("faiss")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")

PHOTOS = 40
CRASHED = ("Fatal Python error", "Segmentation fault", "Traceback", "terminate called")


def started(folder, *arguments):
    """Start `claid ARGUMENTS` as a process of its own, with faulthandler."""
    # Else it would ignore SIGINT where these tests do, as in the background of a shell.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from claid_ext.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", code, *map(str, arguments)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def stopped(process, how, moment):
    """Send it a signal once `moment()` is true; returns exit status and what it wrote to stderr."""
    limit = time.monotonic() + 120
    while process.poll() is None and not moment() and time.monotonic() < limit:
        time.sleep(0.005)
    process.send_signal(how)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.fixture
def photos(tmp_path, picture):
    (tmp_path / "photos").mkdir()
    for seed in range(PHOTOS):
        picture(seed).save(tmp_path / "photos" / f"{seed:02}.png")
    return tmp_path / "photos"


def test_an_interrupted_index_is_gone_on_with(tmp_path, photos, networks):
    from claid_ext.search import InstanceIndex

    command = ["index", photos, "-o", "things", *networks("conv"), "--batch-size", "2"]
    held = []

    def begun():
        table = tmp_path / "things" / "manifest.json"
        if table.is_file():
            with InstanceIndex.open(tmp_path / "things") as index:
                held[:] = index.images
        return len(held) > 3

    status, errors = stopped(started(tmp_path, *command), signal.SIGINT, begun)
    assert (status, errors.splitlines()[-1]) == (130, "claid index: interrupted")
    assert not any(sign in errors for sign in CRASHED)
    with InstanceIndex.open(tmp_path / "things") as index:
        before = index.images
    assert 3 < len(before) < PHOTOS
    done = started(tmp_path, *command)
    out, errors = done.communicate(timeout=120)
    assert (done.returncode, errors) == (0, "")
    assert f"{PHOTOS - len(before)} added" in out
    assert f"{len(before)} already present, 0 failed" in out
    with InstanceIndex.open(tmp_path / "things") as index:
        assert sorted(index.images) == [str(path) for path in sorted(photos.iterdir())]


def test_an_interrupted_detect_is_gone_on_with(tmp_path, photos, networks):
    small = networks()
    options = small[: small.index("--descriptor")]
    command = ["detect", photos, "-o", "regions", *options]
    folder = tmp_path / "regions"

    def begun():
        return len(list(folder.glob("*.json"))) > 3

    status, errors = stopped(started(tmp_path, *command), signal.SIGINT, begun)
    assert status == 130
    assert not any(sign in errors for sign in CRASHED)
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())  # each is whole
    done = started(tmp_path, *command)
    done.communicate(timeout=120)
    assert done.returncode == 0
    assert len(list(folder.glob("*.json"))) >= PHOTOS
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "command",
    [
        ("detect", "photos", "-o", "regions"),
        ("index", "photos", "-o", "new"),
        ("search", "things", "photos/00.png"),
        ("bench", "table4", "photos"),
        ("doctor",),
    ],
    ids=lambda command: command[0],
)
def test_a_command_that_is_stopped_at_any_moment_does_not_crash(  # noqa: PLR0917
    tmp_path, photos, networks, claid, command, how
):
    if command[0] in {"detect", "index"}:
        small = networks("conv")
        cut = small.index("--descriptor") if command[0] == "detect" else None
        command = (*command, *small[:cut])
    if command[0] == "search":
        assert claid("index", photos / "00.png")[0] == 0
    wait = np.random.default_rng(len(command[0]) + how).uniform(0, 3)
    start = time.monotonic()
    status, errors = stopped(
        started(tmp_path, *command), how, lambda: time.monotonic() - start > wait
    )
    assert status in {0, 130, -how}, errors
    if status != -how:  # in Python's own start an interrupt is a KeyboardInterrupt with its trace
        assert not any(sign in errors for sign in CRASHED), errors
    assert "Fatal Python error" not in errors
