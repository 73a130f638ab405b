"""Does a built site load anything from elsewhere?  python docs/check_site.py site"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path

# What a browser loads by itself, and the attribute that says from where. Links are not loaded.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
NOT_LOADED = {"canonical", "next", "prev", "edit"}  # a link's rel


class Loads(HTMLParser):
    """Collects addresses with a host in `elsewhere`."""

    elsewhere: list[str]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one tag."""
        values = dict(attrs)
        address = values.get(LOADED.get(tag, "")) or ""
        if "//" in address.partition("?")[0] and values.get("rel") not in NOT_LOADED:
            self.elsewhere.append(address)


def main(folder: Path) -> int:
    """Return 1 and say what is loaded from where, if anything is."""
    pages = sorted(folder.rglob("*.html"))
    found = []
    for page in pages:
        parser = Loads()
        parser.elsewhere = []
        parser.feed(page.read_text(encoding="utf-8"))
        found += [f"{page}: {address}" for address in parser.elsewhere]
    for sheet in folder.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        found += [f"{sheet}: loads from elsewhere" for _ in range("url(http" in text)]
    print("\n".join(found) or f"{len(pages)} pages, nothing is loaded from elsewhere")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
