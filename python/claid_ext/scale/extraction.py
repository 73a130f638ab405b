"""`extract`: every planned shard that is not done, on an engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from claid_ext.progress import counting
from claid_ext.scale.dataset import DataSet
from claid_ext.scale.engines import Options, engine_named
from claid_ext.scale.shard import ShardReport, run_shard
from claid_ext.search.recipes import Networks, Running

if TYPE_CHECKING:
    from claid_ext.describing import Describer

__all__ = ["ExtractReport", "Work", "extract"]


@dataclass
class ExtractReport:
    """What an extraction did.

    `shards`, `photos` and `regions` are counts of this run, `present` counts the shards that were
    done before; `bad` has the path or URI of each photo of this run without a record, and why.
    """

    shards: int = 0
    present: int = 0
    photos: int = 0
    regions: int = 0
    seconds: float = 0.0
    bad: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Work:
    """What a worker does, on whatever machine it is: called once, it gives what runs a shard.

    Attributes
    ----------
    address : of the data set.
    describer : None to make it from the data set's recipes.
    running : where networks run, by what, and with how many threads.
    """

    address: str
    describer: Describer | None
    running: Running

    def __call__(self) -> Callable[[int], ShardReport]:
        """Make the networks, and return the function."""
        dataset = DataSet(self.address)
        describer = self._made(dataset) if self.describer is None else self.describer
        return lambda shard: run_shard(dataset, shard, describer)

    def _made(self, dataset: DataSet) -> Describer:
        import torch

        from claid_ext.descriptors.basis import Basis

        assert self.running.threads is not None
        torch.set_num_threads(self.running.threads)  # sums differ in their last bits with it
        networks = Networks(dataset.files.shown(), dataset.manifest, running=self.running)
        content = dataset.basis_bytes()
        return networks.describer(None if content is None else Basis.from_bytes(content))


def extract(
    dataset: DataSet,
    *,
    engine: str = "local",
    describer: Describer | None = None,
    options: Options | None = None,
    device: str | None = None,
    threads: int = 1,
    runtime: str | None = None,
    precision: str | None = None,
    allow_runtime: bool = False,
    progress: bool = False,
) -> ExtractReport:
    """Turn the planned photos of a data set into records.

    Killed at any moment, the next run does the missing shards. An engine or a machine that is lost
    costs the shards that it was at.

    Parameters
    ----------
    dataset : whose photos.
    engine : "local" or "ray".
    describer : what it was created with, if that cannot be made from its recipes: it is pickled.
    options : of the engine.
    device : where networks run, None for a GPU where there is one.
    threads : of the networks, in each worker.
    runtime, precision, allow_runtime : by what networks run, as `InstanceIndex.open`.
    progress : whether to show a bar on stderr, where that is a terminal.

    Raises
    ------
    IndexLockedError : another process is extracting into it.
    IndexMismatchError : another describer; other weights than it was made with.
    WorkerLostError : workers die again and again at a shard.
    OSError : the disk is full, or the place not writable.
    """
    from claid_ext.scale.planning import check_options

    if describer is not None:
        made = describer.manifest()
        asked = {name: made[name] for name in ("regions", "descriptor")}
        check_options(dataset, asked, allow_runtime=allow_runtime)
    run = engine_named(engine)
    running = Running(
        device=device,
        threads=threads,
        runtime=runtime,
        precision=precision,
        allow_runtime=allow_runtime,
    )
    report, start = ExtractReport(), time.perf_counter()
    with dataset.files.writing("images"):
        done = set(dataset.done())
        missing = [shard for shard in dataset.planned() if shard not in done]
        report.present = len(done)
        photos = _photos_in(dataset, missing)
        with counting(photos, "extracting", "photo", None if progress else True) as step:
            work = Work(dataset.address, describer, running)
            for one in run(work, missing, options or Options()) if missing else ():
                report.shards += 1
                report.photos += one.photos
                report.regions += one.regions
                report.bad += one.bad
                step(one.photos, f"{report.shards}/{len(missing)} shards, {len(report.bad)} bad")
    report.seconds = time.perf_counter() - start
    return report


def _photos_in(dataset: DataSet, shards: Sequence[int]) -> int:
    """Return how many photos are in shards; of older plans' last ones, more than there are."""
    if not shards:
        return 0
    full = (len(shards) - 1) * int(dataset.manifest["shard photos"])
    return full + len(dataset.listing(shards[-1]))
