"""The real servers that tests talk to: Milvus as PyPI's package `milvus` has it, on loopback."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
from ports import free_ports

URI = "CLAID_MILVUS_URI"  # of a running server, which is then used
PYTHON = "CLAID_MILVUS_PYTHON"  # an interpreter that has the package `milvus`, if not this one


class MilvusServer:
    """A server that can be killed, and started again on what it has left in its folder."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="claid-milvus-")
        (self._port,) = free_ports(1)
        self.uri = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        python = os.environ.get(PYTHON, sys.executable)
        script = Path(__file__).with_name("milvus_server.py")
        self._starter = subprocess.Popen(
            [python, "-W", "ignore", str(script), self.folder, str(self._port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        said = self._starter.stdout.readline()
        if not said:
            self.stop()
            _ours.clear()  # the next test gets another one
            os.environ.pop(URI, None)
            raise RuntimeError("the Milvus server did not start")
        self._pid = int(said)

    def kill(self) -> None:
        """End it at once, as a lost machine would."""
        os.kill(self._pid, signal.SIGKILL)
        self._starter.communicate()

    def stop(self) -> None:
        self._starter.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


_ours: list[MilvusServer] = []


def own_server() -> MilvusServer:
    """The server that all tests of this run share; skips where there is none of our own."""
    milvus_uri()
    if not _ours:
        pytest.skip(f"the server of {URI} is not ours to kill")
    return _ours[0]


def milvus_uri() -> str:
    """The URI of a server that all tests share; also for their processes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("pymilvus", reason="pymilvus is not installed", exc_type=ImportError)
    if URI not in os.environ:
        if PYTHON not in os.environ and find_spec("milvus") is None:
            pytest.skip(f"the package milvus is not installed, and {PYTHON} names no Python of it")
        server = MilvusServer()
        _ours.append(server)
        os.environ[URI] = server.uri
        atexit.register(server.stop)
    return os.environ[URI]
