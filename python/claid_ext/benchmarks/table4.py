"""The paper's Table IV: cuts per image, time per image, time per cut, one thread on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from claid_ext.benchmarks.features import Photo
from claid_ext.benchmarks.machine import one_thread
from claid_ext.benchmarks.methods import Method
from claid_ext.benchmarks.output import markdown_table
from claid_ext.benchmarks.timing import Ratio, Timings, interleave
from claid_ext.progress import progress

__all__ = ["Row", "measure", "to_markdown"]


@dataclass(frozen=True)
class Row:
    """One detector's line.

    Attributes
    ----------
    name, title : of the detector.
    cuts : mean number of cuts (or other eigenproblems) per image.
    regions : mean number of regions per image that are kept.
    image_ms : milliseconds per image: median over the rounds of the mean over the images.
    cut_ms : the same per cut; None without cuts.
    times_fastest : the ratio to the time of the method called `unit`, over the rounds.
    """

    name: str
    title: str
    cuts: float
    regions: float
    image_ms: float
    cut_ms: float | None
    times_fastest: Ratio

    def to_dict(self) -> dict[str, object]:
        """Return the row for JSON."""
        return asdict(self)


def measure(
    photos: Sequence[Photo], methods: Sequence[Method], *, rounds: int, unit: str
) -> list[Row]:
    """Time each method on each photo, in turn on every photo, one thread everywhere.

    Parameters
    ----------
    photos, methods : one of each or more.
    rounds : how many times each method is timed on each photo, after one warm-up.
    unit : the name of the method that the last column counts in.

    Raises
    ------
    ValueError : no photos, or no method of the name `unit`.
    """
    if not photos:
        raise ValueError("photos must be one or more, got none")
    if unit not in [method.name for method in methods]:
        raise ValueError(f"unit must be one of the methods measured, got {unit!r}")
    seconds = {method.name: np.zeros(rounds) for method in methods}
    with one_thread():
        trees = {m.name: [m.detect(photo) for photo in photos] for m in methods}
        for photo in progress(photos, total=len(photos), description=f"{rounds} rounds"):
            tasks = {method.name: lambda m=method, p=photo: m.work(p) for method in methods}
            turn = interleave(tasks, rounds, warmup=int(photo is photos[0]))
            for name, taken in turn.seconds.items():
                seconds[name] += taken
    timings = Timings(seconds)
    rows = []
    for method in methods:
        cuts = float(np.mean([tree.cuts for tree in trees[method.name]]))
        image = 1e3 * timings.median(method.name) / len(photos)
        rows.append(
            Row(
                method.name,
                method.title,
                cuts,
                float(np.mean([len(tree.kept) for tree in trees[method.name]])),
                image,
                image / cuts if cuts else None,
                timings.ratio(method.name, to=unit),
            )
        )
    return rows


def to_markdown(rows: Sequence[Row], unit: str) -> str:
    """Return the rows as a Markdown table."""
    title = next(row.title for row in rows if row.name == unit)
    head = ["method", "cuts", "regions", "ms per image", "ms per cut", f"times {title}"]
    return markdown_table(
        head,
        [
            [
                row.title,
                f"{row.cuts:.1f}",
                f"{row.regions:.1f}",
                f"{row.image_ms:.2f}",
                "-" if row.cut_ms is None else f"{row.cut_ms:.3f}",
                str(row.times_fastest),
            ]
            for row in rows
        ],
    )
