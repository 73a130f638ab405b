"""`run_shard`: the photos of one shard into records; the same function on every engine.

Idempotent: a shard that is done is not done again, and whoever runs one that is not writes the same
bytes. Photos are described together within a shard only, in groups fixed by their positions, since
features differ in their last bits with the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from claid_ext.describing import Describer
from claid_ext.errors import ClaidError, UnreadableImageError
from claid_ext.images import Photo, decode_image, read_photo
from claid_ext.record import ImageRecord
from claid_ext.scale.dataset import DataSet, ImageRow
from claid_ext.scale.files import filesystem, is_uri

__all__ = ["ShardReport", "describe_photos", "read_listed", "run_shard"]


class ShardReport(NamedTuple):
    """What became of a shard: photos in it, regions of them, and (uri, reason) of bad ones."""

    shard: int
    photos: int
    regions: int
    bad: list[tuple[str, str]]


def run_shard(dataset: DataSet, shard: int, describer: Describer) -> ShardReport:
    """Extract a shard, unless that is done.

    Raises
    ------
    OSError : the data set cannot be written to, or where the photos are cannot be reached; then
        the shard is not done.
    """
    if dataset.is_done(shard):
        rows = [ImageRow(**row) for row in dataset.images(shard).to_pylist()]
    else:
        photos = dataset.listing(shard)
        batch = int(dataset.manifest["batch size"])
        records = list(describe_photos(describer, [photo.uri for photo in photos], batch))
        rows = dataset.write_shard(shard, photos, records)
    bad = [(row.uri, row.error) for row in rows if row.error is not None]
    return ShardReport(shard, len(rows), sum(row.regions for row in rows), bad)


def describe_photos(
    describer: Describer, uris: Sequence[str], batch: int
) -> Iterator[ImageRecord | str]:
    """Yield the record of each photo, or why there is none; the next batch is read meanwhile."""
    batches = [uris[i : i + batch] for i in range(0, len(uris), batch)]
    with ThreadPoolExecutor(1, thread_name_prefix="claid-read") as reader:
        waiting = [reader.submit(_read, some) for some in batches[:1]]
        for number in range(len(batches)):
            photos = waiting.pop().result()
            waiting += [reader.submit(_read, some) for some in batches[number + 1 : number + 2]]
            yield from _describe(describer, photos)


def read_listed(uri: str) -> Photo:
    """Read a photo by its path or URI.

    Raises
    ------
    UnreadableImageError : it is missing, or no image.
    OSError : where a URI leads to cannot be reached.
    """
    if not is_uri(uri):
        return read_photo(uri)
    fs, path = filesystem(uri)
    try:
        with fs.open_input_stream(path) as file:
            content = file.read()
    except FileNotFoundError:
        raise UnreadableImageError(f"{path}: there is no such file") from None
    return Photo(decode_image(content, what=path), uri)


def _read(uris: Sequence[str]) -> list[Photo | str]:
    photos: list[Photo | str] = []
    for uri in uris:
        try:
            photos.append(read_listed(uri))
        except UnreadableImageError as error:
            photos.append(str(error))
    return photos


def _describe(describer: Describer, photos: Sequence[Photo | str]) -> list[ImageRecord | str]:
    """Describe those that could be read; if that fails, one by one, to find what is at fault."""
    good = [photo for photo in photos if not isinstance(photo, str)]
    try:
        records: list[ImageRecord | str] = list(describer(good)) if good else []
    except (ClaidError, ValueError) as error:
        if len(photos) > 1:
            return [record for photo in photos for record in _describe(describer, [photo])]
        records = [str(error)]
    made = iter(records)
    return [photo if isinstance(photo, str) else next(made) for photo in photos]
