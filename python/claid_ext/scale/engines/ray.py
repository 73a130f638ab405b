"""The engine of a cluster: actors of Ray, each with its networks, that take shards one by one.

Plain actors, dispatched here, rather than Ray Data: its operators in front of a pool of actors need
CPUs too, and wait for ever without a word where the actors hold them all.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from claid_ext.errors import WorkerLostError
from claid_ext.scale.engines import MOST_DEATHS, Options, Work

__all__ = ["run"]

SILENCE_SECONDS = 3600.0  # without any finished shard, and the run ends; a shard takes minutes
POLL_SECONDS = 60.0
OBJECT_STORE_BYTES = 128 << 20  # of a cluster started here: only reports of shards go through it


def run(
    work: Work, items: Sequence[int], options: Options, silence: float = SILENCE_SECONDS
) -> Iterator[Any]:
    """Yield the result of each item, as `claid_ext.scale.engines` says.

    A cluster that this starts is stopped afterwards; one that was running goes on.

    Raises
    ------
    ValueError : fewer than one worker, or more than the cluster has room for.
    WorkerLostError : actors died again and again at an item, or none was finished for `silence`
        seconds.
    ConnectionError : no cluster at the address.
    """
    ray = _import_ray()
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"workers must be at least 1, got {options.workers}")
    ours = not ray.is_initialized()
    if ours:
        _start(ray, options)
    try:
        workers = min(_workers(ray, options), len(items))
        yield from _dispatch(ray, _starter(ray, work, options), workers, items, silence)
    finally:
        if ours:
            ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ImportError("the engine ray needs Ray: pip install 'claid_ext[ray]'") from error
    return ray


def _start(ray: Any, options: Options) -> None:
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    if options.address is not None:
        ray.init(address=options.address, log_to_driver=False, logging_level="ERROR")
        return
    workers = (os.cpu_count() or 1) if options.workers is None else options.workers
    # Here the CPU that stays free is one in name only.
    ray.init(num_cpus=workers + 1, object_store_memory=OBJECT_STORE_BYTES, **quiet)


def _workers(ray: Any, options: Options) -> int:
    """Return how many workers to start: one CPU of the cluster stays free for Ray's own tasks."""
    has = ray.cluster_resources()
    room = int(has.get("CPU", 0)) - 1
    if options.gpus_per_worker:
        room = min(room, int(has.get("GPU", 0) / options.gpus_per_worker))
    workers = max(room, 0) if options.workers is None else options.workers
    if workers < 1 or workers > room:
        raise ValueError(
            f"the cluster has {has.get('CPU', 0):.0f} CPUs and {has.get('GPU', 0):.0f} GPUs: room "
            f"for {max(room, 0)} workers of {options.gpus_per_worker:g} GPUs beside one free CPU, "
            f"wanted {options.workers or 'one or more'}"
        )
    return workers


def _starter(ray: Any, work: Work, options: Options) -> Callable[[], Any]:
    """Return what starts an actor."""

    class ShardWorker:
        """Holds the networks of a worker, made at its first shard."""

        def __init__(self, work: Work) -> None:
            self._work = work
            self._run: Callable[[int], Any] | None = None

        def do(self, item: int) -> Any:
            if self._run is None:
                self._run = self._work()
            return self._run(item)

    actor = ray.remote(num_cpus=1, num_gpus=options.gpus_per_worker)(ShardWorker)
    return lambda: actor.remote(work)


def _dispatch(
    ray: Any, start: Callable[[], Any], workers: int, items: Sequence[int], silence: float
) -> Iterator[Any]:
    waiting, running = list(reversed(items)), dict[Any, tuple[Any, int]]()
    deaths, heard = Counter[int](), time.monotonic()
    free = [start() for _ in range(workers)]
    while waiting or running:
        while free and waiting:
            actor, item = free.pop(), waiting.pop()
            running[actor.do.remote(item)] = (actor, item)
        ready, _ = ray.wait(list(running), timeout=min(POLL_SECONDS, silence))
        for reference in ready:
            actor, item = running.pop(reference)
            try:
                result = ray.get(reference)
            except ray.exceptions.RayActorError as error:
                deaths[item] += 1
                if deaths[item] >= MOST_DEATHS:
                    raise WorkerLostError(
                        f"{MOST_DEATHS} workers died at shard {item}: {error}"
                    ) from None
                waiting.append(item)
                free.append(start())
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            else:
                heard = time.monotonic()
                free.append(actor)
                yield result
        if time.monotonic() - heard > silence:
            raise WorkerLostError(
                f"no shard finished for {silence:.0f} seconds; the cluster has free: "
                f"{ray.available_resources()}"
            )
