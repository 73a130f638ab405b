"""Pictures that were uploaded: in memory alone, by the hash of their bytes, as long as they fit."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

from claid_ext.errors import UnreadableImageError
from claid_ext.images import Photo, decode_image
from claid_ext.regions import Regions
from claid_ext.serve.errors import NotFoundError, UnusableError

__all__ = ["Upload", "Uploads"]


@dataclass
class Upload:
    """One of them.

    Attributes
    ----------
    name : the SHA-256 of its bytes, in hexadecimal.
    content : its bytes as they came.
    size : (height, width) in pixels, upright.
    preview : the same as JPEG for the page.
    regions : what the detector finds in it, once somebody has asked.
    """

    name: str
    content: bytes
    size: tuple[int, int]
    preview: bytes
    regions: Regions | None = None

    def photo(self) -> Photo:
        """Decode it."""
        return Photo(decode_image(self.content))


class Uploads:
    """Those that are kept, for several threads."""

    def __init__(self, most_bytes: int) -> None:
        """Start empty; `most_bytes` bounds what all of them take."""
        self._most = most_bytes
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    def add(self, upload: Upload) -> Upload:
        """Keep one; those that were not used for longest go, but not this one."""
        with self._lock:
            kept = self._kept.setdefault(upload.name, upload)
            self._kept.move_to_end(upload.name)
            while len(self._kept) > 1 and self._bytes() > self._most:
                self._kept.popitem(last=False)
            return kept

    def get(self, name: str) -> Upload:
        """Return one. Raises NotFoundError for one that is not, or no longer, in memory."""
        with self._lock:
            upload = self._kept.get(name)
            if upload is None:
                raise NotFoundError(
                    "this upload is no longer in the server's memory: send it again"
                )
            self._kept.move_to_end(name)
            return upload

    def _bytes(self) -> int:
        return sum(len(one.content) + len(one.preview) for one in self._kept.values())


def decoded(content: bytes, most_pixels: int) -> Photo:
    """Decode what a client sent. Raises UnusableError for no picture, or too large a one."""
    try:
        return Photo(decode_image(content, most_pixels=most_pixels))
    except UnreadableImageError as error:
        raise UnusableError(str(error)) from error


def name_of(content: bytes) -> str:
    """Return the name under which bytes are kept."""
    return hashlib.sha256(content).hexdigest()
