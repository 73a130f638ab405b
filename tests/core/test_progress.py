"""The bar of long work: on terminals, and nowhere else."""

from __future__ import annotations

import io
import sys

import pytest
from claid_ext.progress import counting, progress


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Patch stderr. Not in a fixture: pytest sets stderr between its setup and the test."""
    pytest.importorskip("tqdm")
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    return made


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    assert list(progress(iter("abc"), 3, "reading", unit="letter")) == ["a", "b", "c"]
    shown = terminal.getvalue()
    assert "reading" in shown
    assert "3/3" in shown


def test_a_bar_counts_and_shows_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    with counting(10, "loading", unit="record") as step:
        step(4, "first")
        step(6, "second")
    shown = terminal.getvalue()
    assert "10/10" in shown
    assert "second" in shown


@pytest.mark.parametrize("disable", [None, True])
def test_elsewhere_nothing_is_written(
    disable: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = io.StringIO() if disable is None else Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert list(progress([1, 2], 2, disable=disable)) == [1, 2]
    with counting(2, "loading", "record", disable=disable) as step:
        step(2, "done")
    assert not stderr.getvalue()
