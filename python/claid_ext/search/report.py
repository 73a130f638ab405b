"""Pictures of what a search found: a contact sheet, and a self-contained HTML page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from claid_ext.errors import UnreadableImageError
from claid_ext.images import as_image
from claid_ext.search.query import Hit, Query, query_boxes

__all__ = ["contact_sheet", "html_report"]

TILE = 240  # pixels a side
CAPTION = 34  # pixels below a tile
GAP = 10  # pixels around tiles
COLUMNS = 5
NOT_HERE = "Probably not in these photos"
_QUERY_COLOUR, _HIT_COLOUR = "#e8590c", "#2b8a3e"


def contact_sheet(query: Query, hits: Sequence[Hit]) -> Image.Image:
    """Draw the query with its boxes, then the hits with theirs and their scores, best first.

    An image that no longer exists gets a grey tile.
    """
    tiles = _tiles(query, hits)
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    across, down = TILE + GAP, TILE + CAPTION + GAP
    sheet = Image.new("RGB", (GAP + columns * across, GAP + rows * down), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for number, (tile, lines) in enumerate(tiles):
        left, top = GAP + number % columns * across, GAP + number // columns * down
        sheet.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
        for line, text in enumerate(lines):
            # The font has no more than these.
            printable = "".join(c if " " <= c <= "~" else "?" for c in text)[-36:]
            pen.text((left, top + TILE + 2 + 15 * line), printable, "black", font)
    return sheet


def html_report(query: Query, hits: Sequence[Hit]) -> str:
    """Return the same as one HTML page that contains its pictures."""
    figures = []
    for tile, lines in _tiles(query, hits):
        file = io.BytesIO()
        tile.save(file, format="JPEG", quality=85)
        data = base64.b64encode(file.getvalue()).decode()
        caption = "<br>".join(html.escape(line) for line in lines)
        figures.append(
            f'<figure><img alt="" src="data:image/jpeg;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    notice = f"<p>{NOT_HERE}</p>" if _none_likely(hits) else ""
    style = (
        "body{font:14px sans-serif}main{display:flex;flex-wrap:wrap;gap:12px}"
        f"figure{{margin:0;width:{TILE}px}}figcaption{{overflow-wrap:anywhere}}"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>claid search</title>'
        f"<style>{style}</style></head><body>{notice}<main>\n"
        + "\n".join(figures)
        + "\n</main></body></html>\n"
    )


def _tiles(query: Query, hits: Sequence[Hit]) -> list[tuple[Image.Image, tuple[str, str]]]:
    picture = as_image(query.image)
    boxes = query_boxes(query, (picture.height, picture.width)).tolist()
    named = isinstance(query.image, str | Path)
    # A name that is no valid text could not be written into a page.
    name = Path(query.image).name.encode(errors="replace").decode() if named else "from memory"
    tiles = [(_tile(picture, boxes, _QUERY_COLOUR), ("query", name))]
    for rank, hit in enumerate(hits, 1):
        found = [part.box for part in hit.parts] or [hit.box]
        try:
            tile = _tile(as_image(hit.image), found, _HIT_COLOUR)
        except UnreadableImageError:
            tile = Image.new("RGB", (TILE, TILE), "#cccccc")
        tiles.append((tile, (f"{rank}: {hit.score:.3f}{_likely(hit)}", Path(hit.image).name)))
    return tiles


def _likely(hit: Hit) -> str:
    """Say how probable it is that a hit shows the thing, where that is known."""
    if hit.probability is None:
        return ""
    return f", {hit.probability:.0%} {'likely' if hit.likely else '(unlikely)'}"


def _none_likely(hits: Sequence[Hit]) -> bool:
    """Whether no hit is likely of those of which that is known, or there is no hit at all."""
    known = [hit.likely for hit in hits if hit.likely is not None]
    return not any(known) and (bool(known) or not hits)


def _tile(picture: Image.Image, boxes: Sequence[Any], colour: str) -> Image.Image:
    scale = TILE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    tile = picture.resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(tile)
    for box in boxes:
        x0, y0, x1, y1 = (np.asarray(box) * scale).tolist()
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=3)
    return tile
