"""A writer that is killed in the midst of its work; run in a process of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from claid_ext.index.sqlite import RecordFile
from claid_ext.search import InstanceIndex, fitting
from small_network import small_descriptor

LEAST, MOST = 4, 6  # photos for a basis, instead of 50 and 256


def with_few_photos(patch: pytest.MonkeyPatch) -> None:
    """Let an index have its own basis from a few photos on."""
    patch.setattr(fitting, "LEAST_PHOTOS", LEAST)
    patch.setattr(fitting, "BASIS_PHOTOS", MOST)
    # A default of the function, taken when it was defined.
    patch.setattr(fitting.spread, "__defaults__", (MOST,))


def add_and_be_killed(folder: Path, paths: list[str], writes: int) -> None:
    """Add photos, two at a time, and die without a word within the given write to the table.

    Where there are fewer writes, it ends as usual.
    """
    left = writes

    def counted(method: Any) -> Any:
        def write(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*arguments)

        return write

    patch = pytest.MonkeyPatch()
    with_few_photos(patch)
    for name in ("add", "set_record", "set"):
        patch.setattr(RecordFile, name, counted(getattr(RecordFile, name)))
    with InstanceIndex.open(folder, descriptor=small_descriptor()) as index:
        index.add(paths, batch_size=2)
