"""Images from files: any usual format as upright 8-bit RGB, or one error that says why not."""

from __future__ import annotations

import glob
import io
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.errors import UnreadableImageError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "IMAGE_SUFFIXES",
    "Photo",
    "as_image",
    "decode_image",
    "find_images",
    "load_image",
    "read_photo",
]

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("avif", "bmp", "gif", "jp2", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "tga"),
        *("tif", "tiff", "webp"),
    )
)
"""What files in a folder are taken for images; a file named itself may have any name."""

# Their decoders by Pillow's names.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")

# Pillow reports by warnings, and their filters belong to all threads.
_filters = threading.Lock()

_ORIENTATION = 0x0112  # EXIF's tag


@dataclass(frozen=True, eq=False)
class Photo:
    """An image that has been decoded: everything behind `read_photo` takes it as it is.

    Attributes
    ----------
    picture : upright 8-bit RGB; not to be changed.
    path : the file it came from, None for an image from memory.
    """

    picture: Image.Image
    path: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.picture.height, self.picture.width

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the pixels, uint8 (height, width, 3) unless another dtype is asked for."""
        if copy is False:
            raise ValueError("a Photo's pixels cannot be had without a copy")
        return np.array(self.picture, dtype)


def read_photo(image: Any) -> Photo:
    """Decode an image once, as `as_image`; a Photo comes back as it is.

    A pair (name, image) gives a Photo of that path.
    """
    if isinstance(image, Photo):
        return image
    if isinstance(image, tuple) and len(image) == 2 and isinstance(image[0], str):
        return Photo(_named(*image), image[0])
    path = str(Path(image)) if isinstance(image, str | os.PathLike) else None
    return Photo(as_image(image), path)


def _named(name: str, image: Any) -> Image.Image:
    try:
        return as_image(image)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def load_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file as 8-bit RGB, upright.

    EXIF orientation is applied, where there is EXIF that can be read; of an animation the first
    frame is taken; transparency is laid on white; CMYK is converted; 16 bits a channel are scaled
    to 8 (divided by 257), and 32-bit and float pixels as `_to_8_bit` says. Colour profiles are not
    applied.

    Raises
    ------
    UnreadableImageError : the file is missing, empty, truncated, a folder or a pipe, no image that
        Pillow knows, or has more pixels than Pillow's limit (`PIL.Image.MAX_IMAGE_PIXELS`, about
        89 million).
    """
    path = Path(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UnreadableImageError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        why = getattr(error, "strerror", None) or error
        raise UnreadableImageError(f"{path}: {why}") from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for a writer
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise UnreadableImageError(f"{path}: {what}, not an image file")
    if status.st_size == 0:
        raise UnreadableImageError(f"{path}: the file is empty")
    return _decoded(path, str(path))


def decode_image(
    content: bytes, *, most_pixels: int | None = None, what: str = "the picture"
) -> Image.Image:
    """Decode the bytes of an image file from somebody else, as `load_image`.

    Only the formats of IMAGE_SUFFIXES are tried: none of their decoders starts another program.

    Parameters
    ----------
    content : the whole file.
    most_pixels : more than these are refused before they are decoded; None for Pillow's limit.
    what : begins the messages of errors.

    Raises
    ------
    UnreadableImageError : no image in one of these formats, cut short, or too large.
    """
    if not content:
        raise UnreadableImageError(f"{what}: the file is empty")
    return _decoded(io.BytesIO(content), what, formats=_FORMATS, most_pixels=most_pixels)


def _decoded(
    source: Path | io.BytesIO,
    what: str,
    *,
    formats: tuple[str, ...] | None = None,
    most_pixels: int | None = None,
) -> Image.Image:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("images need Pillow: pip install 'claid_ext[torch]'") from error
    try:
        with _silent():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(source, formats=formats)
        with image:
            if most_pixels is not None and image.width * image.height > most_pixels:
                raise UnreadableImageError(
                    f"{what}: {image.width} x {image.height} is more than {most_pixels} pixels"
                )
            image.load()
            return _upright_rgb(image)
    except FileNotFoundError:
        raise UnreadableImageError(f"{what}: there is no such file") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = Image.MAX_IMAGE_PIXELS
        raise UnreadableImageError(
            f"{what}: more than {limit} pixels; raise PIL.Image.MAX_IMAGE_PIXELS to allow it"
        ) from None
    except UnidentifiedImageError:
        raise UnreadableImageError(f"{what}: not an image in a format that can be read") from None
    except MemoryError:
        raise UnreadableImageError(f"{what}: too large for the memory of this machine") from None
    except Exception as error:  # Pillow's decoders raise whatever their parsing runs into
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UnreadableImageError(f"{what}: {why}") from error


def as_image(image: Any) -> Image.Image:
    """Return a path, a PIL image or an array as an upright 8-bit RGB PIL image.

    Parameters
    ----------
    image : a path; a PIL image of any mode; a uint8 array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA;
        a torch tensor (1 or 3, H, W), uint8 or floats from 0 to 1; or a Photo, whose picture is
        returned as it is.

    Raises
    ------
    UnreadableImageError : for a path, as `load_image`.
    TypeError, ValueError : for anything else.
    """
    if isinstance(image, Photo):
        return image.picture
    if isinstance(image, str | os.PathLike):
        return load_image(image)
    from PIL import Image

    if hasattr(image, "detach"):
        image = _pixels_of_tensor(image)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8:
            raise TypeError(f"an image array must be uint8, got {image.dtype}")
        if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in {3, 4})):
            raise ValueError(f"an image array must be (H, W[, 3 or 4]), got shape {image.shape}")
        if 0 in image.shape:
            raise ValueError(f"an image array must have pixels, got shape {image.shape}")
        return _to_rgb(Image.fromarray(np.ascontiguousarray(image)))
    if isinstance(image, Image.Image):
        return _upright_rgb(image)
    raise TypeError(
        f"an image must be a path, a PIL image or a uint8 array, got {type(image).__name__}"
    )


def _pixels_of_tensor(tensor: Any) -> NDArray[Any]:
    """Return a torch tensor as an array of pixels, its channels last."""
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    if array.ndim != 3 or array.shape[0] not in {1, 3}:
        raise ValueError(f"an image tensor must be (1 or 3, H, W), got shape {array.shape}")
    if array.dtype.kind == "f":
        if array.size and not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                "an image tensor of floats must be from 0 to 1, before any normalisation, got "
                f"{array.min():.3g} to {array.max():.3g}"
            )
        array = np.rint(255 * array).astype(np.uint8)
    return np.moveaxis(array, 0, 2) if array.shape[0] == 3 else array[0]


def find_images(
    paths: Sequence[str | os.PathLike[str]],
    on_error: Callable[[str, OSError], None] | None = None,
) -> list[Path]:
    """List the image files that files, folders and glob patterns stand for.

    A file is taken whatever its name; in a folder and below it, everything but folders whose suffix
    is one of IMAGE_SUFFIXES and that is not hidden, also what `load_image` then refuses, such as a
    link to nothing; links to folders are not followed there. A pattern (`*`, `?`, `[...]`, `**`) is
    tried where nothing has that very name, and folders that it matches are searched as well.

    Parameters
    ----------
    paths : files, folders, patterns.
    on_error : called with one of `paths`, as given, and what is wrong with it: it stands for no
        image, or holds a folder that cannot be listed. None: the error is raised.

    Returns
    -------
    Sorted paths, each file once, by the first of its names, written as they were given.

    Raises
    ------
    OSError : where there is no `on_error`; FileNotFoundError for what stands for no image.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    found: dict[str, Path] = {}
    for given in paths:
        wrong: list[OSError] = []
        images = _images_at(os.fspath(given), wrong.append)
        if not images and not wrong:
            what = "no image in the folder" if Path(given).is_dir() else "no such file or folder"
            wrong.append(FileNotFoundError(f"{given}: {what}"))
        for error in wrong:
            if on_error is None:
                raise error
            on_error(os.fspath(given), error)
        for image in sorted(images):
            found.setdefault(os.path.realpath(image), image)  # Path.resolve raises for a loop
    return sorted(found.values())


def _images_at(given: str, wrong: Callable[[OSError], None]) -> list[Path]:
    if os.path.isdir(given):  # noqa: PTH112 (Path.is_dir raises where it may not look)
        return list(_images_below(given, wrong))
    try:
        os.lstat(given)
    except (FileNotFoundError, NotADirectoryError):
        matches = glob.glob(given, recursive=True) if glob.has_magic(given) else []  # noqa: PTH207 (Path.glob takes no absolute pattern)
    except OSError as error:
        wrong(type(error)(f"{given}: {error.strerror}"))
        return []
    else:
        return [Path(given)]
    return [
        image
        for match in matches
        if Path(match).is_dir() or Path(match).suffix.lower() in IMAGE_SUFFIXES
        for image in _images_at(match, wrong)
    ]


def _images_below(given: str, wrong: Callable[[OSError], None]) -> Iterator[Path]:
    def cannot_list(error: OSError) -> None:
        wrong(type(error)(f"{error.filename}: the folder cannot be listed: {error.strerror}"))

    for folder, folders, files in os.walk(given, onerror=cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if path.suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield path


@contextmanager
def _silent() -> Iterator[None]:
    """Let no warning out."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _upright_rgb(image: Image.Image) -> Image.Image:
    rgb = _to_rgb(_upright(image))
    rgb.info.clear()  # EXIF would turn it again
    return rgb


def _upright(image: Image.Image) -> Image.Image:
    """Turn a loaded image as its EXIF says; EXIF that cannot be read says nothing."""
    from PIL.Image import Transpose

    try:
        with _silent():
            orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # Pillow's parser of EXIF raises whatever it runs into
        orientation = None
    turns: dict[Any, Transpose] = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to RGB, transparency on white."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        return _to_8_bit(image).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        straight = image.convert("RGBA")
        white = Image.new("RGBA", straight.size, "white")
        return Image.alpha_composite(white, straight).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Bring grey pixels of more than 8 bits to 8.

    16 bits: 0..65535 becomes 0..255. 32 bits and floats say nothing of their range: it is taken
    as 0..1 (floats), 0..255 or 0..65535, the first that holds all pixels, else as lowest..highest.
    """
    from PIL import Image

    pixels = np.asarray(image, np.float64)
    low, high = 0.0, 65535.0
    if not image.mode.startswith("I;16"):
        pixels = np.nan_to_num(pixels)
        ranges = [255.0, 65535.0] if image.mode.startswith("I") else [1.0, 255.0, 65535.0]
        least, most = float(pixels.min()), float(pixels.max())
        fitting = [top for top in ranges if least >= 0 and most <= top]
        low, high = (0.0, fitting[0]) if fitting else (least, most)
    scaled = np.rint((pixels - low) * (255.0 / (high - low)))
    return Image.fromarray(scaled.astype(np.uint8))
