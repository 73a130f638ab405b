"""Engines: each runs the same function on many workers, and hands out items as they get free.

An engine is `run(work, items, options)`: `work`, pickled, is called once in each worker, and what
it returns for each item. Results come in any order, each item's once. An item whose worker dies is
given to another; what a worker raises ends the run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

__all__ = ["ENGINES", "MOST_DEATHS", "Options", "engine_named"]

ENGINES = ("local", "ray")
MOST_DEATHS = 3  # of workers at one item, and the run ends: it is the item that kills them

Work = Callable[[], Callable[[int], Any]]
Engine = Callable[[Work, Sequence[int], "Options"], Iterator[Any]]


class Options(NamedTuple):
    """How an engine runs.

    Attributes
    ----------
    workers : how many; None for one per CPU, or for `ray` what the cluster has room for.
    address : of a Ray cluster, None to start one here.
    gpus_per_worker : what a Ray worker asks for; parts of a GPU are shared.
    """

    workers: int | None = None
    address: str | None = None
    gpus_per_worker: float = 0.0


def engine_named(name: str) -> Engine:
    """Return the engine of a name.

    Raises
    ------
    ValueError : there is no such engine.
    ImportError : it is not installed.
    """
    if name not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")
    engine: Engine = importlib.import_module(f"{__name__}.{name}").run
    return engine
