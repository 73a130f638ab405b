"""Figures 5 and 6 as matplotlib figures; their `savefig` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from claid_ext.evaluation.metrics import CUTOFFS
from claid_ext.evaluation.recall import RecallCurve
from claid_ext.evaluation.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_recall", "draw_sensitivity"]

WIDTH, HEIGHT = 4.5, 3.4  # inches, one panel


def draw_recall(curves: Mapping[str, RecallCurve]) -> Figure:
    """Recall over IoU thresholds, one line per detector: all objects left, large ones right."""
    figure, panels = _panels(2)
    for panel, part in zip(panels, ("all", "large"), strict=True):
        for name, curve in curves.items():
            panel.plot(curve.thresholds, getattr(curve, part), marker="o", label=name)
        panel.set(xlabel="IoU", ylabel="recall", title=f"{part} objects", ylim=(0, None))
        panel.legend()
    return figure


def draw_sensitivity(table: Table) -> Figure:
    """Fig. 6 from its table: mAP over the dominance threshold, and over the connectivity one."""
    figure, panels = _panels(2)
    for panel, option in zip(panels, ("dominance", "connectivity"), strict=True):
        points = [dict(zip(table.columns, cells, strict=True)) for name, _, cells in table.rows
                  if name == option]  # fmt: skip
        for name in CUTOFFS:
            panel.plot(_column(points, "threshold"), _column(points, name), marker="o", label=name)
        panel.set(xlabel=f"{option} threshold", ylabel="mAP", ylim=(0, 1))
        panel.legend()
    return figure


def _column(points: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return [point[name] for point in points]


def _panels(count: int) -> tuple[Figure, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("drawing needs matplotlib: pip install 'claid_ext[all]'") from None
    figure = Figure(figsize=(count * WIDTH, HEIGHT), layout="constrained")
    return figure, figure.subplots(1, count)
