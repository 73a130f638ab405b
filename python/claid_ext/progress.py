"""A progress bar for long work: on a terminal only, so that logs and pipes stay clean."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["counting", "progress"]

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


@contextmanager
def counting(
    total: int, description: str, unit: str, disable: bool | None = None
) -> Iterator[Callable[[int, str], None]]:
    """Give a function that moves a bar on by a number of items, and shows a note behind it.

    The parameters are as of `progress`.
    """
    if disable is None:
        disable = not sys.stderr.isatty()
    if disable:
        yield lambda items, note: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=description, unit=unit, file=sys.stderr) as bar:

        def step(items: int, note: str) -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(items)

        yield step
