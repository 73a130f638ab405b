"""A progress bar for long work: on a terminal only, so that logs and pipes stay clean."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["progress"]

T = TypeVar("T")


def progress(
    iterable: Iterable[T],
    total: int | None = None,
    description: str = "",
    unit: str = "image",
    disable: bool | None = None,
) -> Iterator[T]:
    """Yield what `iterable` yields, with a bar on stderr meanwhile.

    Parameters
    ----------
    iterable : anything to go through.
    total : how many items it has; None where that is not known.
    description : what is being done, shown before the bar.
    unit : what one item is called.
    disable : True for no bar; None for a bar only where stderr is a terminal.
    """
    if disable is None:
        disable = not sys.stderr.isatty()
    if disable:
        yield from iterable
        return
    from tqdm import tqdm

    yield from tqdm(iterable, total=total, desc=description, unit=unit, file=sys.stderr)
