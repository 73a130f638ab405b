"""One writer at a time: a lock that the system releases however its process ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from claid_ext.errors import IndexLockedError

__all__ = ["writer_lock"]

FILE = "writer.lock"
_FAR = 1 << 30  # Windows locks bytes against reading too: one far behind the holder's number


@contextlib.contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of an index.

    Raises
    ------
    IndexLockedError : another process, or another object of this one, holds it.
    OSError : the folder cannot be written to.
    """
    with (folder / FILE).open("a+b") as file:
        if not _lock(file.fileno()):
            file.seek(0)
            holder = file.read(20).decode(errors="replace").strip() or "unknown"
            raise IndexLockedError(
                f"{folder} is being written to by process {holder}; wait for it to end"
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        yield


if sys.platform == "win32":

    def _lock(handle: int) -> bool:
        import msvcrt

        os.lseek(handle, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _lock(handle: int) -> bool:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
