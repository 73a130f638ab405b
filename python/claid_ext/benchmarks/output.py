"""Results on disk: Markdown to read, JSON to compute with, PNG to show. Whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from claid_ext.files import write_whole

__all__ = ["figure", "markdown_table", "save_figure", "save_json", "save_text"]

_DPI = 110


def save_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    write_whole(path, partial(Path.write_text, data=text, encoding="utf-8"))


def save_json(path: Path, content: Any) -> None:
    """Write JSON, indented."""
    save_text(path, json.dumps(content, indent=2) + "\n")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def figure(width: float = 6.4, height: float = 4.2) -> Any:
    """Return a new matplotlib figure, in inches, that needs no display.

    Raises ImportError, saying which extra to install, without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'claid_ext[baselines]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(path: Path, drawn: Any) -> None:
    """Write a figure as PNG."""
    write_whole(path, partial(drawn.savefig, format="png", dpi=_DPI))
