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


SOURCES = ("measured", "quoted")
_DAGGER = "\N{DAGGER}"

Cell = str | int | float | Estimate | None


@dataclass
class Table:
    """Rows under a title. A row is a name, a source and a cell per column.

    The source is "measured", here, or "quoted", from the paper: those are printed as a table of
    their own, each marked with a dagger. `above` is text between the title and the table, `notes`
    are below it.
    """

    title: str
    columns: Sequence[str]
    rows: list[tuple[str, str, Sequence[Cell]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    above: list[str] = field(default_factory=list)

    def add(self, name: str, source: str, cells: Sequence[Cell]) -> None:
        """Add one row; it must have a cell for every column."""
        if source not in SOURCES:
            raise ValueError(f"row {name}: source must be one of {SOURCES}, got {source!r}")
        if len(cells) != len(self.columns):
            raise ValueError(f"row {name}: wanted {len(self.columns)} cells, got {len(cells)}")
        self.rows.append((name, source, list(cells)))

    def markdown(self) -> str:
        """The table as Markdown, columns aligned, notes below."""
        parts = [f"### {self.title}", *self.above]
        measured = [(name, cells) for name, source, cells in self.rows if source == "measured"]
        quoted = [(f"{name} {_DAGGER}", c) for name, source, c in self.rows if source == "quoted"]
        every = range(len(self.columns))
        if measured or not quoted:
            parts.append(self._block(measured, every))
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        if quoted:  # what is only measured has no columns there
            known = [i for i in every if any(cells[i] is not None for _, cells in quoted)]
            parts.append(f"Quoted from the paper, not measured here ({_DAGGER}):")
            parts.append(self._block(quoted, known))
        return "\n\n".join(parts)

    def _block(self, rows: Sequence[tuple[str, Sequence[Cell]]], columns: Sequence[int]) -> str:
        head = ["", *(self.columns[i] for i in columns)]
        body = [[name, *(_show(cells[i]) for i in columns)] for name, cells in rows]
        widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
        rule = ["-" * max(1, w - 1) for w in widths]
        rule = [f":{rule[0]}", *(f"{dashes}:" for dashes in rule[1:])]
        return "\n".join(
            "| " + " | ".join(_pad(cell, widths[i], i == 0) for i, cell in enumerate(row)) + " |"
            for row in [head, rule, *body]
        )

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
            "above": self.above,
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
            table.add(f"{name}, {what}", "measured", cells)
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
