"""What a table of search says above its rows: where another system is better than ours."""

from __future__ import annotations

from collections.abc import Sequence

from claid_ext.evaluation.table import Estimate, Table

__all__ = ["FIGURES", "OURS", "compare"]

FIGURES = ("mAP", "mAP@IoU0.5", "mIoU")
OURS = "CLAID ("  # how our rows begin; "CLAID (NCut) (" is the paper's variant
_VARIANT = "CLAID (NCut)"


def compare(table: Table, sets: Sequence[str]) -> list[str]:
    """Return a line for each set and figure: our best row, and every other row that is better.

    A row counts with the better of its two figures, queries as they are or expanded.

    Parameters
    ----------
    table : with the columns of `FIGURES`, each also as "... + QE", and rows "SET: METHOD".
    sets : the sets' names; each gets its lines once.
    """
    lines = []
    for name in dict.fromkeys(sets):
        rows = {
            row.removeprefix(f"{name}: "): cells
            for row, _, cells in table.rows
            if row.startswith(f"{name}: ")
        }
        for figure in FIGURES:
            places = [table.columns.index(figure), table.columns.index(f"{figure} + QE")]
            best = {
                row: max(values)
                for row, cells in rows.items()
                if (values := [c.value for i in places if isinstance(c := cells[i], Estimate)])
            }
            ours = {row: value for row, value in best.items() if _is_ours(row)}
            if not ours or len(best) == len(ours):
                continue
            top = max(ours, key=lambda row: ours[row])
            better = sorted(
                (row for row in best if row not in ours and best[row] > ours[top]),
                key=lambda row: -best[row],
            )
            others = ", ".join(f"{row} {best[row]:.3f}" for row in better)
            end = f"**better: {others}**" if better else "no other system has a better one"
            lines.append(f"- {name}, {figure}: ours at best {ours[top]:.3f} ({top}); {end}.")
    return ["\n".join(lines)] if lines else []


def _is_ours(row: str) -> bool:
    return row.startswith(OURS) and not row.startswith(_VARIANT)
