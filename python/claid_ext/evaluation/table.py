"""Tables as Markdown and as JSON-ready values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from claid_ext.evaluation.recall import RecallCurve

__all__ = ["Estimate", "Table", "recall_table"]


@dataclass(frozen=True)
class Estimate:
    """A figure with the interval that it is in, from `low` to `high`; NaN where none is known."""

    value: float
    low: float
    high: float


Cell = str | int | float | Estimate | None


@dataclass
class Table:
    """Rows under a title. A row is a name, a source ("ours" or "paper") and a cell per column."""

    title: str
    columns: Sequence[str]
    rows: list[tuple[str, str, Sequence[Cell]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, source: str, cells: Sequence[Cell]) -> None:
        """Add one row; it must have a cell for every column."""
        if len(cells) != len(self.columns):
            raise ValueError(f"row {name}: wanted {len(self.columns)} cells, got {len(cells)}")
        self.rows.append((name, source, list(cells)))

    def markdown(self) -> str:
        """The table as Markdown, columns aligned, notes below."""
        head = ["", "from", *self.columns]
        body = [[name, source, *map(_show, cells)] for name, source, cells in self.rows]
        widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
        rule = [":" + "-" * max(1, w - 1) if i < 2 else "-" * max(1, w - 1) + ":"
                for i, w in enumerate(widths)]  # fmt: skip
        lines = [
            "| " + " | ".join(_pad(cell, widths[i], i < 2) for i, cell in enumerate(row)) + " |"
            for row in [head, rule, *body]
        ]
        notes = [""] + [f"- {note}" for note in self.notes] if self.notes else []
        return "\n".join([f"### {self.title}", "", *lines, *notes])

    def to_dict(self) -> dict[str, Any]:
        """The table for JSON; what has no value is null.

        An estimate is its value, with [low, high] under the column's name and " interval".
        """
        return {
            "title": self.title,
            "rows": [
                {"name": name, "from": source, **self._fields(cells)}
                for name, source, cells in self.rows
            ],
            "notes": self.notes,
        }

    def _fields(self, cells: Sequence[Cell]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for column, cell in zip(self.columns, cells, strict=True):
            if isinstance(cell, Estimate):
                fields[column] = _clean(cell.value)
                fields[f"{column} interval"] = [_clean(cell.low), _clean(cell.high)]
            else:
                fields[column] = _clean(cell)
        return fields


def recall_table(title: str, curves: Mapping[str, RecallCurve]) -> Table:
    """Recall over the IoU thresholds as a table, two rows per detector: all objects, large ones."""
    first = next(iter(curves.values()))
    table = Table(title, ["regions/image", *(f"{t:.2f}" for t in first.thresholds), "mean"])
    for name, curve in curves.items():
        for what, values in (("all", curve.all), ("large", curve.large)):
            cells = [curve.regions, *values.tolist(), float(values.mean())]
            table.add(f"{name}, {what}", "ours", cells)
    table.notes = [
        f"{first.images} images, {first.objects} objects, {first.large_objects} of them large: "
        "their box covers over 2 % of the image; crowds are not counted"
    ]
    return table


def _clean(cell: str | int | float | None) -> str | int | float | None:
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def _show(cell: Cell) -> str:
    if isinstance(cell, Estimate):
        known = not (math.isnan(cell.low) or math.isnan(cell.value))
        return _show(cell.value) + (f" [{cell.low:.2f}-{cell.high:.2f}]" if known else "")
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    if isinstance(cell, float):
        return f"{cell:.3f}" if abs(cell) < 10 else f"{cell:.1f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def _pad(cell: str, width: int, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)
