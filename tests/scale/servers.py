"""The real servers that tests talk to: Milvus as PyPI's package `milvus` has it, on loopback."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

URI = "CLAID_MILVUS_URI"  # of a running server, which is then used
PYTHON = "CLAID_MILVUS_PYTHON"  # an interpreter that has the package `milvus`, if not this one


class MilvusServer:
    """A server of its own, of which a folder is all that remains when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        python = os.environ.get(PYTHON, sys.executable)
        script = Path(__file__).with_name("milvus_server.py")
        self._starter = subprocess.Popen(
            [python, "-W", "ignore", str(script), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        said = self._starter.stdout.readline().split()
        assert len(said) == 2, "the Milvus server did not start"
        self.pid, port = map(int, said)
        self.uri = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self._starter.communicate()


def require_milvus() -> None:
    """Skip the test where there is no server to be had."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("pymilvus", reason="pymilvus is not installed", exc_type=ImportError)
    if PYTHON not in os.environ and find_spec("milvus") is None:
        pytest.skip(f"PyPI's package milvus is not installed, and {PYTHON} names no Python with it")


def milvus_uri() -> str:
    """The URI of a server that all tests share; also for their processes."""
    if URI not in os.environ:
        require_milvus()
        folder = tempfile.TemporaryDirectory(prefix="claid-milvus-")
        server = MilvusServer(Path(folder.name))
        os.environ[URI] = server.uri
        atexit.register(folder.cleanup)
        atexit.register(server.stop)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip("pymilvus", exc_type=ImportError)
    return os.environ[URI]
