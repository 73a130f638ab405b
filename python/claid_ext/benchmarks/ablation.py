"""The paper's ablations and sensitivity studies (V-E, V-F), on recall: one part at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import claid_ext
from claid_ext.benchmarks import recall
from claid_ext.benchmarks.features import Photo
from claid_ext.benchmarks.output import figure, markdown_table
from claid_ext.evaluation.datasets import DetectionImage
from claid_ext.progress import progress

__all__ = ["STUDIES", "Setting", "draw", "measure", "to_dict", "to_markdown"]

_RANDOM_SEEDS = 5

STUDIES: dict[str, str] = {
    "init": "start of each bisection (III-B)",
    "dummies": "dummy filter (III-D)",
    "tau": "tau, the similarity above which patches are linked (Eq. 5)",
    "connectivity": "connectivity at which a region is no longer cut (III-C)",
    "dominance": "dominance up to which a region is a dummy (III-D)",
    "min_patches": "smallest region, in patches",
}
_VALUES: dict[str, tuple[float, ...]] = {
    "tau": (0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7),
    "connectivity": (0.7, 0.8, 0.9, 0.94, 0.97, 0.99, 1.0),
    "dominance": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
    "min_patches": (2, 3, 5, 8, 12, 15, 20, 30),
}


@dataclass(frozen=True)
class Setting:
    """One value of one part, everything else at its default.

    Attributes
    ----------
    value : of the part; a name for "init" and "dummies".
    regions : mean number of regions per image that count.
    recall, recall_large, recall_budget : at box IoU 0.5: of all objects, of those over 2 % of
        their image, and of all objects by the first 30 regions.
    """

    value: float | str
    regions: float
    recall: float
    recall_large: float
    recall_budget: float


def measure(
    study: str,
    photos: Sequence[Photo],
    truth: Sequence[DetectionImage],
    *,
    tau: float,
    min_patches: int,
) -> list[Setting]:
    """Return a study's settings in turn; random starts are averaged over five seeds.

    Raises ValueError for a study that is not in STUDIES.
    """
    if study not in STUDIES:
        raise ValueError(f"study must be one of {', '.join(STUDIES)}, got {study!r}")
    defaults: dict[str, Any] = {"tau": tau, "min_patches": min_patches}
    if study == "init":
        random = [
            _setting("random", photos, truth, {**defaults, "init": "random", "seed": seed})
            for seed in range(_RANDOM_SEEDS)
        ]
        return [_setting("seeds", photos, truth, defaults), _mean(random)]
    if study == "dummies":
        return [
            _setting("left out", photos, truth, defaults),
            _setting("kept", photos, truth, defaults, with_dummies=True),
        ]
    values = progress(_VALUES[study], len(_VALUES[study]), study, "value")
    return [_setting(value, photos, truth, {**defaults, study: value}) for value in values]


def to_markdown(study: str, settings: Sequence[Setting]) -> str:
    """Return a study as a Markdown table."""
    head = [STUDIES[study], "regions", "R@0.5", "R@0.5 large", f"R@0.5, first {recall.BUDGET}"]
    rows = [
        [
            str(s.value),
            f"{s.regions:.1f}",
            f"{s.recall:.3f}",
            f"{s.recall_large:.3f}",
            f"{s.recall_budget:.3f}",
        ]
        for s in settings
    ]
    return markdown_table(head, rows)


def to_dict(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """Return a study's settings for JSON."""
    return [asdict(s) for s in settings]


def draw(study: str, settings: Sequence[Setting]) -> Any:
    """Return a study as a figure: recall on the left axis, regions per image on the right."""
    drawn = figure(5.6, 3.6)
    axis = drawn.subplots()
    other = axis.twinx()
    x = range(len(settings))
    shown = (
        ("R@0.5", [s.recall for s in settings], "tab:blue"),
        ("R@0.5 large", [s.recall_large for s in settings], "tab:green"),
        (f"R@0.5, first {recall.BUDGET}", [s.recall_budget for s in settings], "tab:purple"),
    )
    other.bar(x, [s.regions for s in settings], color="0.88", width=0.6)
    other.set_ylabel("regions per image (bars)")
    for label, values, colour in shown:
        axis.plot(x, values, marker="o", color=colour, label=label)
    axis.set_zorder(other.get_zorder() + 1)
    axis.patch.set_visible(False)
    axis.set_xticks(list(x), [str(s.value) for s in settings])
    axis.set_xlabel(STUDIES[study])
    axis.set_ylabel("recall")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7)
    return drawn


def _setting(
    value: float | str,
    photos: Sequence[Photo],
    truth: Sequence[DetectionImage],
    options: dict[str, Any],
    *,
    with_dummies: bool = False,
) -> Setting:
    trees: Any = claid_ext.detect(
        [photo.features for photo in photos], [photo.grid for photo in photos], **options
    )
    own = recall.curves(trees, photos, truth, with_dummies=with_dummies)
    first = recall.curves(trees, photos, truth, budget=recall.BUDGET, with_dummies=with_dummies)
    return Setting(value, own.regions, float(own.all[0]), float(own.large[0]), float(first.all[0]))


def _mean(settings: Sequence[Setting]) -> Setting:
    rows = np.array([[s.regions, s.recall, s.recall_large, s.recall_budget] for s in settings])
    means = rows.mean(axis=0).tolist()
    return Setting(settings[0].value, *means)
