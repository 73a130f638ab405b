"""Read the ground-truth files of data sets, with errors that name the file and the key."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from claid_ext.files import get, read_json

__all__ = ["find_one", "read_ground_truth", "stem_table"]


def find_one(root: Path, names: list[str], what: str) -> Path:
    """The first of `names` that exists under `root`. FileNotFoundError names them all."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    for name in names:
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{root}: no {what} there: looked for {', '.join(names)}")


def read_ground_truth(path: Path) -> dict[str, Any]:
    """imlist, qimlist and gnd of a gnd_*.json, .pkl or .mat file, with plain lists inside.

    gnd is a list of dicts. Nothing is renumbered here: INSTRE counts from 1, the revisited sets
    from 0. Raises ValueError on a wrong layout, ImportError if a .mat file needs SciPy.
    """
    readers = {".json": read_json, ".pkl": _read_pickle, ".mat": _read_matlab}
    if path.suffix not in readers:
        raise ValueError(f"{path}: wanted one of {', '.join(readers)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    contents = readers[path.suffix](path)
    result = {key: _plain(get(contents, key, path)) for key in ("imlist", "qimlist", "gnd")}
    if len(result["gnd"]) != len(result["qimlist"]):
        raise ValueError(
            f"{path}: wrong layout: {len(result['qimlist'])} queries, {len(result['gnd'])} answers"
        )
    return result


def stem_table(
    folder: Path, suffixes: tuple[str, ...] = (".jpg", ".jpeg", ".png")
) -> dict[str, Path]:
    """Every image under `folder`, at any depth, by its name without the suffix."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    if not found:
        raise FileNotFoundError(f"{folder}: no images in it")
    table: dict[str, Path] = {}
    for path in found:
        if path.stem in table:
            raise ValueError(f"{folder}: two images are called {path.stem}")
        table[path.stem] = path
    return table


class _DataUnpickler(pickle.Unpickler):
    """Lets in only lists, dicts, numbers, strings and NumPy arrays: other pickles can run code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in (
            "ndarray",
            "dtype",
            "_reconstruct",
            "scalar",
            "_frombuffer",
        ):
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 2's byte strings come out
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds a {module}.{name}, not plain data")


def _read_pickle(path: Path) -> Any:
    try:
        return _DataUnpickler(io.BytesIO(path.read_bytes())).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError) as error:
        raise ValueError(f"{path}: not a ground-truth pickle: {error}") from None


def _read_matlab(path: Path) -> Any:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise ImportError(
            f"{path}: reading a .mat file needs SciPy: pip install 'claid_ext[baselines]'"
        ) from None
    try:
        contents = loadmat(str(path), simplify_cells=True)
    except (ValueError, NotImplementedError, OSError) as error:
        raise ValueError(f"{path}: not a MATLAB file: {error}") from None
    return contents


def _plain(value: Any) -> Any:
    """NumPy arrays and scalars as lists and numbers, a lone dict or string as a list of one."""
    if isinstance(value, (dict, str)):
        return [_values(value)]
    return _values(value)


def _values(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_values(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _values(value.tolist())
    return value.strip() if isinstance(value, str) else value
