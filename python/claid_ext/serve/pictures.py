"""Photos as the page shows them: read as everywhere, brought to size, and kept for a while."""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from claid_ext.errors import UnreadableImageError
from claid_ext.images import Photo, read_photo
from claid_ext.index.paths import file_state, is_name
from claid_ext.serve.errors import ForbiddenError, GoneError
from claid_ext.serve.reader import Catalogue, folder_of

__all__ = ["LARGEST_SIDE", "THUMBNAIL_SIDE", "PhotoFiles", "Picture", "PictureCache", "as_jpeg"]

THUMBNAIL_SIDE = 448  # pixels: a tile of the page on a screen of two pixels per CSS pixel
LARGEST_SIDE = 2048
QUALITY = 87
CACHE_BYTES = 96 << 20


class Picture(NamedTuple):
    """A JPEG, and a tag that changes when the file it was made of does."""

    content: bytes
    tag: str


def as_jpeg(photo: Photo, side: int) -> bytes:
    """Return a photo as JPEG, no side longer than this many pixels, without metadata."""
    picture = photo.picture
    if max(picture.size) > side:
        picture = picture.copy()
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


class PictureCache:
    """The pictures that were shown last, up to `most` bytes, for several threads."""

    def __init__(self, most: int = CACHE_BYTES) -> None:
        """Start empty."""
        self._most = most
        self._bytes = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, tag: str, make: Callable[[], bytes]) -> Picture:
        """Return the picture of a tag, made if it is not there."""
        with self._lock:
            content = self._kept.get(tag)
            if content is not None:
                self._kept.move_to_end(tag)
                return Picture(content, tag)
        content = make()
        with self._lock:
            if tag not in self._kept:
                self._kept[tag] = content
                self._bytes += len(content)
            while self._bytes > self._most:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= len(gone)
        return Picture(content, tag)


class PhotoFiles:
    """The files of an index's photos: only these are read, and no links that lead elsewhere."""

    def __init__(self, *, follow_links: bool = False, cache: PictureCache | None = None) -> None:
        """Read files; `follow_links` also links out of the photos' folders."""
        self._follow = follow_links
        self._cache = cache or PictureCache()
        self._real: dict[str, str] = {}  # each folder's real place, as it was first seen

    def file(self, catalogue: Catalogue, photo: int) -> str:
        """Return the real path of a photo by its id.

        Raises
        ------
        NotFoundError : there is no such id.
        GoneError : it was indexed by a name, not from a file.
        ForbiddenError : a symbolic link out of its folder, and of the folder common to all photos.
        """
        path = catalogue.path(photo)
        if is_name(path):
            raise GoneError(f"photo {photo}, {path}, was not indexed from a file")
        real = os.path.realpath(path)
        if self._follow:
            return real
        own = self._real_folder(folder_of(path))
        common = catalogue.common
        inside = [own]
        if len(Path(common).parts) > 1:  # the root of the file system is no bound
            inside.append(self._real_folder(common))
        if not any(real.startswith(folder.rstrip(os.sep) + os.sep) for folder in inside):
            raise ForbiddenError(
                f"photo {photo} is a symbolic link out of its folder; `--follow-links` shows such"
            )
        return real

    def read(self, catalogue: Catalogue, photo: int) -> Photo:
        """Decode a photo by its id.

        Raises
        ------
        NotFoundError, ForbiddenError : as `file`.
        GoneError : it cannot be read.
        """
        return self._read(self.file(catalogue, photo), photo)

    def picture(self, catalogue: Catalogue, photo: int, side: int, known: str | None) -> Picture:
        """Return a photo as JPEG, as `read`; without content if the client has it, `known`."""
        path = self.file(catalogue, photo)
        size, changed = file_state(path)
        tag = f'"{photo}-{size}-{changed}-{side}"'
        if tag == known and size:
            return Picture(b"", tag)
        if size == 0:
            raise GoneError(f"photo {photo} cannot be shown: its file is gone")
        return self._cache.get(tag, lambda: as_jpeg(self._read(path, photo), side))

    def _real_folder(self, folder: str) -> str:
        return self._real.setdefault(folder, os.path.realpath(folder))

    def _read(self, path: str, photo: int) -> Photo:
        try:
            return read_photo(path)
        except UnreadableImageError as error:
            raise GoneError(f"photo {photo} cannot be shown: {error}") from error
