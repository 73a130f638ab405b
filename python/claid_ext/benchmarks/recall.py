"""The paper's Fig. 5: recall of annotated objects over IoU, every detector on the same features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from claid_ext.benchmarks.features import Photo
from claid_ext.benchmarks.methods import Method
from claid_ext.benchmarks.output import figure, markdown_table
from claid_ext.evaluation.datasets import DetectionImage
from claid_ext.evaluation.detection import recall_of_regions
from claid_ext.evaluation.recall import RecallCurve
from claid_ext.progress import progress
from claid_ext.regions import Regions
from claid_ext.tree import RegionTree

__all__ = ["BUDGET", "curves", "draw", "measure", "to_dict", "to_markdown"]

BUDGET = 30
"""Regions per image in the second comparison: what the paper keeps of an image."""

Curves = dict[str, dict[str, RecallCurve]]


def curves(
    trees: Sequence[RegionTree],
    photos: Sequence[Photo],
    truth: Sequence[DetectionImage],
    *,
    budget: int | None = None,
    with_dummies: bool = False,
) -> RecallCurve:
    """Return the recall of one detector's trees by boxes, as `claid eval recall` measures it.

    A budget takes the first regions in the order they were found, which in a tree is level by
    level, large regions first; dummies are no candidates unless `with_dummies`.
    """

    def found() -> Iterator[tuple[DetectionImage, Regions]]:
        for tree, photo, image in zip(trees, photos, truth, strict=True):
            boxes = tree.pixel_boxes(photo.covered)
            chosen = boxes if with_dummies else boxes[tree.kept]
            yield image, Regions.of_boxes(image.size, chosen)

    return recall_of_regions(found(), budget=budget)


def measure(
    photos: Sequence[Photo], truth: Sequence[DetectionImage], methods: Sequence[Method]
) -> Curves:
    """Return for each method's title its curves: "own" at its own number of regions, "budget"."""
    found: Curves = {}
    for method in methods:
        work = progress(photos, total=len(photos), description=method.title)
        trees = [method.detect(photo) for photo in work]
        found[method.title] = {
            "own": curves(trees, photos, truth),
            "budget": curves(trees, photos, truth, budget=BUDGET),
        }
    return found


def to_markdown(found: Curves) -> str:
    """Return recall at IoU 0.5, its mean over 0.5 to 0.95, and of large objects, as Markdown."""
    head = ["method"]
    for name in ("own number", f"first {BUDGET}"):
        head += [f"regions, {name}", "R@0.5", "R@0.5:0.95", "R@0.5 large"]
    rows = []
    for title, both in found.items():
        row = [title]
        for curve in both.values():
            row += [
                f"{curve.regions:.1f}",
                f"{curve.all[0]:.3f}",
                f"{curve.all.mean():.3f}",
                f"{curve.large[0]:.3f}",
            ]
        rows.append(row)
    return markdown_table(head, rows)


def to_dict(found: Curves) -> dict[str, Any]:
    """Return the curves for JSON."""
    return {
        title: {
            name: {
                "thresholds": np.round(curve.thresholds, 2).tolist(),
                "recall": curve.all.tolist(),
                "recall_large": curve.large.tolist(),
                "regions": curve.regions,
                "objects": curve.objects,
                "large_objects": curve.large_objects,
                "images": curve.images,
            }
            for name, curve in both.items()
        }
        for title, both in found.items()
    }


def draw(found: Mapping[str, Mapping[str, RecallCurve]]) -> Any:
    """Return Fig. 5 as a matplotlib figure: own numbers of regions left, the budget right."""
    drawn = figure(9.6, 4.0)
    axes = drawn.subplots(1, 2, sharey=True)
    for axis, name in zip(axes, ("own", "budget"), strict=True):
        for title, both in found.items():
            curve = both[name]
            axis.plot(
                curve.thresholds,
                curve.all,
                marker=".",
                linewidth=2.2 if title.startswith("CLAID") else 1.2,
                label=f"{title} ({curve.regions:.0f})",
            )
        axis.set_xlabel("IoU")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, title="regions per image in brackets", title_fontsize=7)
    axes[0].set_ylabel("recall of annotated objects")
    axes[0].set_title("at each detector's own number of regions", fontsize=9)
    axes[1].set_title(f"first {BUDGET} regions of each", fontsize=9)
    return drawn
