"""Bad input to `claid index`, `claid search` and `InstanceIndex`: told by name, nothing lost."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("timm")

from claid_ext.search import InstanceIndex
from PIL import Image

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX file systems")


def names(things):
    with InstanceIndex.open(things) as index:
        return sorted(Path(image).name for image in index.images)


def animation(path, picture, form):
    frames = [picture(seed) for seed in range(3)]
    frames[0].save(path, form, save_all=True, append_images=frames[1:])


def clear(image, mode):
    image.putalpha(
        Image.fromarray(np.tile(np.arange(image.width, dtype=np.uint8), (image.height, 1)))
    )
    return image.quantize(32) if mode == "P" else image.convert(mode)


def sixteen_bits(image):
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


UNUSUAL = {
    "one.png": lambda path, picture: Image.new("L", (1, 1)).save(path),
    "wide.png": lambda path, picture: picture(0, (20000, 50), (3000, 10, 9000, 40)).save(path),
    "high.png": lambda path, picture: picture(0, (50, 20000), (10, 3000, 40, 9000)).save(path),
    "grey.jpg": lambda path, picture: picture().convert("L").save(path),
    "bits16.png": lambda path, picture: sixteen_bits(picture()).save(path),
    "cmyk.jpg": lambda path, picture: picture().convert("CMYK").save(path),
    "rgba.png": lambda path, picture: clear(picture(), "RGBA").save(path),
    "la.png": lambda path, picture: clear(picture(), "LA").save(path),
    "palette.png": lambda path, picture: clear(picture(), "P").save(path),
    "moving.gif": lambda path, picture: animation(path, picture, "GIF"),
    "moving.png": lambda path, picture: animation(path, picture, "PNG"),
    "moving.webp": lambda path, picture: animation(path, picture, "WEBP"),
    "tiff called.jpg": lambda path, picture: picture().save(path, "TIFF"),
}


def test_unusual_images_are_indexed_and_found(claid, results, picture, tmp_path):
    (tmp_path / "photos").mkdir()
    for name, write in UNUSUAL.items():
        write(tmp_path / "photos" / name, picture)
    status, out, err = claid("index", "photos")
    assert (status, err) == (0, "")
    assert f"{len(UNUSUAL)} added" in out
    for name in UNUSUAL:
        path = tmp_path / "photos" / name
        with Image.open(path) as image:
            width, height = image.size
        found = results("things", path, "-k", 99)
        assert sorted(Path(hit["image"]).name for hit in found) == sorted(UNUSUAL)
        hit = next(hit for hit in found if Path(hit["image"]).name == name)
        x0, y0, x1, y1 = hit["box"]
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
    for name in ("one.png", "wide.png", "high.png"):
        command = ("things", f"photos/{name}", "-k", 3, "--draw", "s.png", "--html", "s.html")
        assert claid("search", *command)[0] == 0
        with Image.open("s.png") as sheet:
            sheet.load()


def bomb(path, picture):
    """The header of a picture of 60,000 x 60,000 pixels."""
    content = bytearray(png_of(picture()))
    content[16:24] = (60000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


def png_of(image, form="PNG"):
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


BAD = {
    "empty.jpg": (lambda path, picture: path.touch(), "the file is empty"),
    "cut.jpg": (
        lambda path, picture: path.write_bytes(png_of(picture(), "JPEG")[:-900]),
        "truncated",
    ),
    "cut.png": (lambda path, picture: path.write_bytes(png_of(picture())[:-9000]), "truncated"),
    "head.jpg": (
        lambda path, picture: path.write_bytes(b"\xff\xd8\xff\xe0"),
        "not an image|truncated",
    ),
    "text.jpg": (lambda path, picture: path.write_text("no image"), "not an image in a format"),
    "bomb.png": (bomb, "more than 89478485 pixels"),
    "long.png": (lambda path, picture: Image.new("L", (2_100_000, 1)).save(path), "too elongated"),
}
if os.name == "posix":
    BAD |= {
        "pipe.jpg": (
            lambda path, picture: os.mkfifo(path),
            "a pipe or a device, not an image file",
        ),
        "circle.jpg": (lambda path, picture: path.symlink_to("circle.jpg"), "symbolic links"),
        "nowhere.jpg": (lambda path, picture: path.symlink_to("gone"), "there is no such file"),
    }


def test_bad_images_are_listed_and_the_rest_is_indexed(claid, things, picture, tmp_path):
    photos = tmp_path / "photos"
    for name, (write, _) in BAD.items():
        write(photos / name, picture)
    (photos / "folder.jpg").mkdir()
    picture(7).save(photos / "folder.jpg" / "7.png")
    status, out, err = claid("index", "photos", "none.jpg")
    assert status == 1, "as `claid index --help` says"
    assert "1 added (" in out
    assert f"3 already present, {len(BAD) + 1} failed; 4 images in total" in out
    lines = dict(line.split(": ", 1) for line in err.splitlines())
    assert lines.pop("none.jpg") == "no such file or folder"
    assert {Path(path).name for path in lines} == set(BAD)
    for path, why in lines.items():
        assert re.search(BAD[Path(path).name][1], why)
    assert names(things) == ["0.png", "1.png", "2.png", "7.png"]
    assert claid("index", "none.jpg", "n*.gif")[2] == (
        "claid index: none.jpg: no such file or folder; n*.gif: no such file or folder\n"
    )


@pytest.mark.parametrize("name", [*BAD, "missing.jpg", "folder.jpg"])
def test_a_bad_query_is_named_and_leaves_no_output(claid, things, picture, tmp_path, name):
    why = {"missing.jpg": "there is no such file", "folder.jpg": "a folder, not an image file"}
    if name in BAD:
        write, why[name] = BAD[name]
        write(tmp_path / name, picture)
    elif name == "folder.jpg":
        (tmp_path / name).mkdir()
    command = ("search", "things", name, "--json", "--draw", "s.png", "--html", "s.html")
    before = sorted(path.name for path in tmp_path.iterdir())
    status, out, err = claid(*command)
    assert (status, out) == (1, "")
    assert err.startswith("claid search: ")
    assert err.count("\n") == 1
    assert re.search(why[name], err)
    assert name in err or "an image of 1 x 2100000" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_same_photo_through_two_paths_is_there_once(claid, things, tmp_path):
    again = ["photos", "./photos/../photos/0.png", tmp_path / "photos"]
    if os.name == "posix":
        (tmp_path / "link.png").symlink_to("photos/1.png")
        again.append("link.png")
    status, out, _ = claid("index", *again)
    assert status == 0
    assert "0 added" in out
    assert "3 already present" in out
    assert names(things) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--box", 500, 0, 600, 10), r"box \[500.*\] is outside the image of 160 x 120 pixels"),
        (("--box", 5, 5, 5, 9), "is empty: it must be x0 y0 x1 y1 with x0 < x1, y0 < y1"),
        (("--box", 90, 5, 50, 9), "is empty: it must be x0 y0 x1 y1 with x0 < x1, y0 < y1"),
        (("--box", "nan", 5, 50, 9), "boxes must be .* finite numbers"),
        (("--box", 0, 5, "inf", 9), "boxes must be .* finite numbers"),
        (("-k", 0), "k must be at least 1, got 0"),
        (("-k", -3), "k must be at least 1, got -3"),
    ],
)
def test_wrong_arguments_of_a_search(claid, things, tmp_path, arguments, why):
    outputs = ("--json", "--draw", "s.png", "--html", "s.html")
    status, out, err = claid("search", "things", "photos/0.png", *arguments, *outputs)
    assert (status, out) == (1, "")
    assert re.search(f"^claid search: .*{why}", err)
    assert not list(tmp_path.glob("s.*"))


@pytest.mark.parametrize("box", [("1", "2", "3"), ("1", "2", "3", "x"), ()])
def test_a_box_of_another_number_of_sides_is_wrong_usage(claid, box, capsys):
    with pytest.raises(SystemExit) as left:
        claid("search", "things", "q.png", "--box", *box)
    assert left.value.code == 2
    assert "--box" in capsys.readouterr().err


def test_a_box_partly_outside_is_clipped(results, things):
    inside = results("things", "photos/0.png", "--box", 40, 30, 160, 120)
    assert results("things", "photos/0.png", "--box", 40, 30, 900, 1e9) == inside


def test_an_empty_index_finds_nothing(claid, results, picture, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    assert claid("index", "bad.png")[0] == 1
    picture().save(tmp_path / "q.png")
    command = ("things", "q.png", "--draw", "s.png", "--html", "s.html")
    assert results(*command) == []
    with Image.open("s.png") as sheet:
        assert sheet.size == (260, 294)
    assert Path("s.html").read_text().count("<img ") == 1
    status, out, _ = claid("search", *command)
    assert (status, out) == (0, "nothing found: things holds no image in scope\n")


def test_what_is_no_index(claid, picture, tmp_path):
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "mine.txt").write_text("kept")
    (tmp_path / "file").write_text("kept")
    picture().save(tmp_path / "q.png")
    for index in ("things", "file", "nowhere"):
        status, out, err = claid("search", index, "q.png", "--json", "--draw", "s.png")
        assert (status, out) == (1, "")
        assert err == f"claid search: {index} is no instance index: it has no manifest.json\n"
    assert claid("index", "q.png")[::2] == (
        1,
        "claid index: things is not empty: it holds mine.txt\n",
    )
    assert sorted(path.name for path in tmp_path.rglob("*.txt")) == ["mine.txt"]
    assert not (tmp_path / "s.png").exists()


def test_an_output_that_cannot_be_written(claid, things, tmp_path):
    """Neither half of it nor, for a folder of that name, anything instead of it."""
    (tmp_path / "s.png").mkdir()
    (tmp_path / "file").write_text("kept")
    for option, path in [("--draw", "s.png"), ("--html", "file/s.html")]:
        status, out, err = claid("search", "things", "photos/0.png", "--json", option, path)
        assert (status, out) == (1, "")
        assert path.split("/")[0] in err
    assert list((tmp_path / "s.png").iterdir()) == []
    assert (tmp_path / "file").read_text() == "kept"
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_as_a_program_of_its_own(things, tmp_path):
    """Exit status and streams as a shell sees them."""

    def claid(*arguments):
        code = "import sys; from claid_ext.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    good = claid("search", "things", "photos/0.png", "--json")
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["results"][0]["image"] == str(tmp_path / "photos" / "0.png")
    bad = claid("search", "things", "photos", "--json", "--draw", "s.png")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr == "claid search: photos: a folder, not an image file\n"
    assert not (tmp_path / "s.png").exists()
