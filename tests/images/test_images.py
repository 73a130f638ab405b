"""`images`: every usual format as upright RGB, or an error with the reason."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from claid_ext.errors import UnreadableImageError
from claid_ext.images import as_image, find_images, load_image

pytest.importorskip("PIL")

from PIL import Image, ImageFile


def _steps(height: int = 20, width: int = 30) -> np.ndarray:
    """uint8 (height, width): different in every row and column."""
    y, x = np.mgrid[:height, :width]
    return ((y * 7 + x * 5) % 256).astype(np.uint8)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(_steps()).save(tmp_path / "a.png")
    pixels = np.asarray(load_image(tmp_path / "a.png"))
    assert np.array_equal(pixels, np.repeat(_steps()[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_scaled_to_8(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(_steps().astype(np.uint16) * 257).save(tmp_path / f"a{suffix}")
    assert np.array_equal(np.asarray(load_image(tmp_path / f"a{suffix}"))[..., 0], _steps())


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.float32([[0, 0.2, 1.0]]), [0, 51, 255]),
        (np.float32([[0, 20, 255]]), [0, 20, 255]),
        (np.float32([[-1, 0, 1]]), [0, 128, 255]),
        (np.float32([[np.nan, 0.2, 1.0]]), [0, 51, 255]),
        (np.int32([[0, 257 * 20, 65535]]), [0, 20, 255]),
        (np.int32([[0, 0, 0]]), [0, 0, 0]),
    ],
)
def test_32_bits_take_the_range_that_holds_them(
    tmp_path: Path, pixels: np.ndarray, expected: list[int]
) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    assert np.asarray(load_image(tmp_path / "a.tif"))[0, :, 0].tolist() == expected


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    red, green, blue = load_image(tmp_path / "a.tif").getpixel((3, 3))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 0, 255))
    if mode == "P":
        image.quantize(4).save(tmp_path / "a.png")
    else:
        image.convert(mode).save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png")
    assert loaded.mode == "RGB"
    assert loaded.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.getpixel((1, 1)) == (0, 0, 0)


def test_rgb_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), (9, 9, 9))
    image.save(tmp_path / "a.png", transparency=(9, 9, 9))
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "a.gif").getpixel((2, 2)) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(_steps())
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    turned = {
        1: _steps(),
        2: _steps()[:, ::-1],
        3: _steps()[::-1, ::-1],
        4: _steps()[::-1],
        5: _steps().T,
        6: _steps()[::-1].T,
        7: _steps()[::-1, ::-1].T,
        8: _steps()[:, ::-1].T,
    }[orientation]
    loaded = load_image(tmp_path / "a.png")
    assert np.array_equal(np.asarray(loaded)[..., 0], turned)
    assert np.array_equal(np.asarray(as_image(loaded)), np.asarray(loaded)), "not turned again"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize(
    ("exif", "size"),
    [
        (b"\xff" * 30, (30, 20)),
        (b"MM\0*\0\0", (30, 20)),
        (b"MM\0*\0\0\0\x08\0\1\1\x12\0\2\0\0\0\2" + b"6\0\0\0" + bytes(4), (30, 20)),
        # Turned, and a second tag that points behind the end.
        (
            b"MM\0*\0\0\0\x08\0\2\1\x12\0\3\0\0\0\1\0\6\0\0"
            b"\1\x0e\0\2\0\0\x20\0\0\0\x20\0" + bytes(4),
            (20, 30),
        ),
    ],
    ids=["junk", "cut", "words", "beyond"],
)
def test_damaged_exif_does_not_cost_the_image(
    tmp_path: Path, suffix: str, exif: bytes, size: tuple[int, int]
) -> None:
    Image.fromarray(_steps()).save(tmp_path / f"a{suffix}", exif=b"Exif\0\0" + exif)
    assert load_image(tmp_path / f"a{suffix}").size == size


def test_names_beyond_ascii(tmp_path: Path) -> None:
    path = tmp_path / "Фото é 图 #1 [x].png"
    Image.new("RGB", (3, 2)).save(path)
    assert load_image(path).size == (3, 2)
    assert find_images([path]) == [path]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"not an image at all", "not an image in a format that can be read"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"image|chunk|format|truncated"),
    ],
)
def test_bad_files_say_why(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=rf"a\.png: .*({why})"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    path = tmp_path / f"a{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImageError, match=f"a\\{suffix}: "):
        load_image(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"none\.jpg: there is no such file"):
        load_image(tmp_path / "none.jpg")
    with pytest.raises(UnreadableImageError, match=f"{tmp_path.name}: a folder, not an image"):
        load_image(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links have other names there")
def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe is not waited for; links to nothing and round in circles are listed, then refused."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "nowhere.jpg").symlink_to("gone.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "folder.jpg" / "around").symlink_to(tmp_path)
    Image.new("RGB", (3, 2)).save(tmp_path / "folder.jpg" / "a.png")
    names = ["circle.jpg", "folder.jpg/a.png", "nowhere.jpg", "pipe.jpg"]
    assert find_images([tmp_path]) == [tmp_path / name for name in names]
    for name, why in [
        ("pipe.jpg", "a pipe or a device, not an image file"),
        ("circle.jpg", "symbolic links"),
        ("nowhere.jpg", "there is no such file"),
    ]:
        assert find_images([tmp_path / name]) == [tmp_path / name]
        with pytest.raises(UnreadableImageError, match=rf"{name}: .*{why}"):
            load_image(tmp_path / name)


def test_links_to_one_image_are_one_image(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "b.png")
    for name in ("c.png", "a.png"):
        (tmp_path / name).symlink_to("b.png")
    assert find_images([tmp_path]) == [tmp_path / "a.png"]
    assert find_images([tmp_path / "c.png", tmp_path]) == [tmp_path / "c.png"]


def test_every_path_that_is_wrong_is_told(photos: Path) -> None:
    (photos / "empty").mkdir()
    told: list[tuple[str, str]] = []
    given = [str(photos / "none.jpg"), str(photos / "a.jpg"), str(photos / "empty")]
    found = find_images(given, on_error=lambda path, error: told.append((path, str(error))))
    assert found == [photos / "a.jpg"]
    assert told == [
        (given[0], f"{given[0]}: no such file or folder"),
        (given[2], f"{given[2]}: no image in the folder"),
    ]


@pytest.mark.parametrize("limit", [1000, 1999])
def test_too_many_pixels_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Pillow only warns up to twice its limit."""
    Image.new("RGB", (100, 21)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UnreadableImageError, match=f"more than {limit} pixels"):
        load_image(tmp_path / "a.png")


def test_arrays_and_pil_images() -> None:
    assert np.array_equal(np.asarray(as_image(_steps()))[..., 2], _steps())
    rgb = np.dstack([_steps()] * 3)
    assert np.array_equal(np.asarray(as_image(rgb[::-1])), rgb[::-1])
    clear = np.dstack([rgb, np.zeros_like(_steps())])
    assert np.asarray(as_image(clear)).min() == 255
    assert as_image(Image.new("1", (3, 3))).mode == "RGB"


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((4, 4, 3)), TypeError, "must be uint8, got float64"),
        (np.zeros((4, 4, 2), np.uint8), ValueError, r"got shape \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "must have pixels"),
        (7, TypeError, "got int"),
    ],
)
def test_what_is_no_image(image: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_image(image)


def test_find_images_in_folders_patterns_and_files(photos: Path) -> None:
    below = [photos / n for n in ("a.jpg", "sub/a.jpg", "sub/ü 1.png", "truncated.jpg")]
    assert find_images([photos]) == below
    assert find_images([photos / "sub", photos / "sub" / "a.jpg"]) == below[1:3]
    assert find_images([str(photos / "*.jpg")]) == [below[0], below[3]]
    assert find_images([str(photos / "**" / "*.jpg")]) == [below[0], below[1], below[3]]
    assert find_images([str(photos / "s*")]) == below[1:3]
    assert find_images([photos / "notes.txt"]) == [photos / "notes.txt"]
    assert find_images(str(photos / "a.jpg")) == below[:1]


def test_find_images_passes_hidden_files_over(photos: Path) -> None:
    (photos / ".hidden").mkdir()
    for name in (".a.jpg", ".hidden/b.jpg"):
        os.link(photos / "a.jpg", photos / name)
    assert all(not p.name.startswith(".") and p.name != "b.jpg" for p in find_images([photos]))


def test_find_images_names_what_matches_nothing(photos: Path) -> None:
    (photos / "empty").mkdir()
    for given in ("none.jpg", "*.tiff", "empty"):
        with pytest.raises(FileNotFoundError, match=rf"{given.replace('*', '.')}: no "):
            find_images([photos, str(photos / given)])
