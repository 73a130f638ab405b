"""For mkdocs: links from a page to a file of the repository outside docs/ become plain text."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Keep the words of a link that would leave the site."""
    return _OUTSIDE.sub(r"\1", markdown)
