"""Turned photos, strange names and locked folders: boxes, sheets and pages that searches give."""

from __future__ import annotations

import contextlib
import os
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("timm")

from PIL import Image

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX file systems")


ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}
"""What a camera held so stores of an upright picture (height, width, 3)."""


CELL = (80, 0, 120, 30)  # of the 4 x 4 boxes of the regions "grid"; no turn leaves it in its place


@pytest.mark.parametrize("regions", ["detect", "grid"])
def test_boxes_and_sheets_are_in_the_upright_frame(claid, results, picture, tmp_path, regions):
    """Eight files of one upright picture answer and ask alike, whatever way they are stored."""
    upright = picture(box=CELL)
    for orientation, store in ORIENTATIONS.items():
        folder = tmp_path / f"orientation {orientation}"
        folder.mkdir()
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.fromarray(np.ascontiguousarray(store(np.asarray(upright))))
        stored.save(folder / "photo.png", exif=exif)
    other = picture(5, box=(5, 5, 50, 40))
    other.save(tmp_path / "other.png")
    assert claid("index", ".", "--regions", regions)[0] == 0
    answers, sheets = [], []
    for orientation in ORIENTATIONS:
        query = f"orientation {orientation}/photo.png"
        only = ("--images", f"*{query}", "--draw", f"{orientation}.png")
        answers.append(results("things", query, "--box", *CELL, "-k", 9))
        (hit,) = results("things", query, "--box", *CELL, *only)
        assert hit["image"] == str(tmp_path / query)
        with Image.open(f"{orientation}.png") as sheet:
            sheets.append(np.asarray(sheet))
    for answer in answers:
        assert [(a["box"], a["score"]) for a in answer] == [
            (a["box"], a["score"]) for a in answers[0]
        ]
        boxes = {tuple(a["box"]) for a in answer if "orientation" in a["image"]}
        assert len(boxes) == 1
        x0, y0, x1, y1 = boxes.pop()
        assert 0 <= x0 < x1 <= upright.width
        assert 0 <= y0 < y1 <= upright.height
        assert regions == "detect" or (x0, y0, x1, y1) == CELL
    for sheet in sheets:
        assert np.array_equal(sheet, sheets[0])
    # As the upright picture, but for the lines of the box.
    tile = np.asarray(upright.resize((240, 180), Image.Resampling.BICUBIC), int)
    drawn = sheets[0][10 + 30 : 10 + 30 + 180, 10:250].astype(int)
    assert (np.abs(drawn - tile).max(axis=2) == 0).mean() > 0.9


STRANGE = [
    "Фото é 图 #1.png",
    "a\nb.png",
    'it\'s "so".png',
    "<img src=x onerror=alert(1)>.png",
    "[1] *?.png",
    "-k.png",
    "&amp;lt;.png",
]


class Page(HTMLParser):
    """What a browser would make of a page: its tags, with what each refers to, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.references, self.text, self.handlers = [], [], "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [v for k, v in attrs if k in {"src", "href", "srcset", "data", "poster"}]
        self.handlers += [k for k, _ in attrs if k.startswith("on")]

    def handle_data(self, data):
        self.text += data


@POSIX
def test_strange_names_are_kept_and_do_no_harm(claid, results, picture, tmp_path):
    (tmp_path / "photos").mkdir()
    for seed, name in enumerate(STRANGE):
        picture(seed).save(tmp_path / "photos" / name)
    assert claid("index", "photos")[0] == 0
    for name in STRANGE:
        outputs = ("--draw", f"./sheet of {name}", "--html", "page.html")
        found = results("things", f"photos/{name}", "-k", 99, *outputs)
        assert {hit["image"] for hit in found} == {str(tmp_path / "photos" / n) for n in STRANGE}
        with Image.open(f"sheet of {name}") as sheet:
            sheet.load()
        text = Path("page.html").read_text(encoding="utf-8")
        page = Page(text)
        for word in STRANGE:
            assert word in page.text
        assert set(page.tags) == {
            *("html", "head", "meta", "title", "style", "body"),
            *("main", "figure", "img", "figcaption", "br"),
        }
        assert page.tags.count("img") == len(page.references) == 1 + len(STRANGE)
        assert all(reference.startswith("data:image/") for reference in page.references)
        assert not page.handlers
        assert "url(" not in text
        assert "@import" not in text


@POSIX
def test_names_that_are_no_text(claid, results, picture, things, tmp_path):
    """Bytes that are no UTF-8: not indexed, said so by name; a query may be called so."""
    bad = os.fsdecode(b"caf\xe9.png")
    try:
        picture(0).save(tmp_path / "photos" / bad)
    except OSError:
        pytest.skip("this file system takes only Unicode")
    status, out, err = claid("index", "photos")
    assert status == 1
    assert "3 already present, 1 failed" in out
    assert "caf\\udce9.png: its name is no valid text (Unicode)" in err
    outputs = ("--draw", "s.png", "--html", "s.html")
    found = results("things", f"photos/{bad}", *outputs)
    assert Path(found[0]["image"]).name == "0.png"
    assert "caf?.png" in Path("s.html").read_text(encoding="utf-8")


@contextlib.contextmanager
def without_privileges():
    """As somebody whom permissions bind."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@POSIX
def test_folders_and_files_without_permission_are_told(picture):
    """What may not be read is listed, in a folder that is given and in one below it."""
    from claid_ext.images import find_images, load_image

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for path in ("open/a.png", "open/locked/b.png", "open/c.png"):
            (folder / path).parent.mkdir(exist_ok=True, parents=True)
            picture().save(folder / path)
        (folder / "open" / "locked").chmod(0)
        (folder / "open" / "c.png").chmod(0)
        told = []
        try:
            with without_privileges():
                found = find_images(
                    [folder / "open", folder / "open" / "locked" / "b.png"],
                    on_error=lambda _, error: told.append(str(error)),
                )
                with pytest.raises(OSError, match=r"locked: the folder cannot be listed"):
                    find_images([folder])
                with pytest.raises(OSError, match=r"c\.png: Permission denied"):
                    load_image(folder / "open" / "c.png")
        finally:
            (folder / "open" / "locked").chmod(0o755)
        assert found == [folder / "open" / "a.png", folder / "open" / "c.png"]
        assert told == [
            f"{folder}/open/locked: the folder cannot be listed: Permission denied",
            f"{folder}/open/locked/b.png: Permission denied",
        ]
