"""Files that are written whole or not at all, and JSON files read with errors that name them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["get", "read_json", "write_whole"]


def write_whole(path: Path, write: Callable[[Path], object], *, durable: bool = False) -> int:
    """Let `write` make a file beside `path` and move it there; return its size in bytes.

    Whatever happens, `path` holds either the old content or the new one.

    Parameters
    ----------
    path : where the file goes; missing folders are made.
    write : gets the path of the temporary file, and writes it.
    durable : wait until the content is on the disk before the move, so that it survives a power
        failure as well as a kill.

    Raises
    ------
    OSError : the disk is full or the folder not writable; it names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        write(part)
        size = part.stat().st_size
        if durable:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk does not say where
        raise
    return size


def read_json(path: Path) -> Any:
    """The contents of a JSON file. ValueError names the file if it is not JSON."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from None


def get(record: Any, key: str, path: Path, where: str = "") -> Any:
    """`record[key]`, or a ValueError that says which key of which file is missing."""
    if not isinstance(record, dict) or key not in record:
        place = f" in {where}" if where else ""
        raise ValueError(f"{path}: wrong layout: wanted the key '{key}'{place}")
    return record[key]
