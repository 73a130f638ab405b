"""Every detector that a table can have as a row, under one name each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import claid_ext
from claid_ext import reference
from claid_ext.baselines import BASELINES
from claid_ext.baselines.ncut import SOLVERS
from claid_ext.benchmarks.features import Photo
from claid_ext.tree import RegionTree

__all__ = ["DETECTORS", "TIMED", "Method", "method", "methods"]

DETECTORS = ("cpu", "claid_ncut", "deep_spectral", "maskcut", "tokencut", "lost", "grid")
"""The rows of a recall table, unless others are asked for."""

TIMED = (
    "deep_spectral",
    "deep_spectral:lanczos",
    "tokencut:generalized",
    "tokencut",
    "tokencut:lanczos",
    "maskcut:generalized",
    "maskcut",
    "maskcut:lanczos",
    "lost",
    "claid_ncut:generalized",
    "claid_ncut",
    "claid_ncut:lanczos",
    "reference",
    "cpu",
)
"""The rows of Table IV, unless others are asked for: peers under every solver, so also the fastest.
CUDA and ncut-pytorch join where they are installed."""

_CLAID = {"cpu": "CLAID (C++)", "cuda": "CLAID (CUDA)", "reference": "CLAID (NumPy reference)"}


@dataclass(frozen=True)
class Method:
    """One detector with its options set.

    Attributes
    ----------
    name, title : as asked for, and as in a table.
    work : what is timed: the detector's own work on one photo.
    detect : its regions.
    """

    name: str
    title: str
    work: Callable[[Photo], object]
    detect: Callable[[Photo], RegionTree]


def method(name: str, *, tau: float, min_patches: int, **options: Any) -> Method:
    """Return a detector by name.

    Parameters
    ----------
    name : "cpu", "cuda" or "reference" for CLAID, or a key of `claid_ext.baselines.BASELINES`, with
        ":generalized" or ":lanczos" behind it for another eigensolver.
    tau, min_patches : given to every detector that has them.
    options : more for CLAID's three.

    Raises
    ------
    ValueError : there is no such detector, or it takes no solver.
    """
    common = {"tau": tau, "min_patches": min_patches}
    key, _, solver = name.partition(":")
    if key in _CLAID and not solver:
        call = _claid(key, {**common, **options})
        return Method(name, _CLAID[key], call, call)
    if key not in BASELINES:
        known = ", ".join([*_CLAID, *BASELINES])
        raise ValueError(f"method must be one of {known}, got {name!r}")
    baseline = BASELINES[key]
    chosen: dict[str, Any] = {o: v for o, v in common.items() if o in baseline.options}
    title = baseline.title
    if solver:
        if solver not in SOLVERS or "solver" not in baseline.options:
            raise ValueError(f"{key} takes no solver {solver!r}")
        chosen["solver"] = solver
        title += f", {solver} solver"
    detect = partial(_on_photo, partial(baseline.detect, **chosen))
    work = partial(_on_photo, partial(baseline.segment, **chosen)) if baseline.segment else detect
    return Method(name, title, work, detect)


def methods(names: Sequence[str], *, tau: float, min_patches: int) -> list[Method]:
    """Return detectors by name, see `method`."""
    return [method(name, tau=tau, min_patches=min_patches) for name in names]


def _claid(key: str, options: dict[str, Any]) -> Callable[[Photo], Any]:
    if key == "reference":
        return partial(_on_photo, partial(reference.detect, **options))
    return partial(_on_photo, partial(claid_ext.detect, device=key, threads=1, **options))


def _on_photo(detect: Callable[..., Any], photo: Photo) -> Any:
    return detect(photo.features, photo.grid)
