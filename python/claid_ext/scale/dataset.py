"""The files of a data set: what an extraction writes, and a store reads.

    manifest.json           every option, the recipes and weights of the networks; written last of
                            `create`, it makes a place a data set
    basis.bin               the frozen basis, if there is one
    listing/part-N.parquet  the photos of shard N; never changed
    records/part-N.bin      of each image its record without maps, then its maps, end to end
    regions/part-N.parquet  a row per region: key, image, box, vector and what else the tree says
    images/part-N.parquet   a row per image, and where its record is; written last: shard N is done
    removed/part-N.parquet  numbers of images that were removed
    stores/                 what each store holds of it

Every file is written whole or not at all, and writing it again writes the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claid_ext.errors import InvalidIndexError
from claid_ext.index.store import FileState
from claid_ext.record import ImageRecord, maps_to_bytes
from claid_ext.scale.files import Files, import_pyarrow
from claid_ext.scale.parquet import Kind, parquet_bytes, read_parquet
from claid_ext.vectors import decode_vectors

__all__ = ["FORMAT", "VERSION", "DataSet", "ImageRow", "Listed", "VectorRows", "image_numbers"]

FORMAT, VERSION = "claid_ext.DataSet", 1
MANIFEST, BASIS = "manifest.json", "basis.bin"
SHARD_PHOTOS = 512  # an hour of work is then some ten shards a core, and a part some 15 MB
POSITION_BITS, REGION_BITS = 20, 12  # image = shard * 2^20 + position; key = image * 2^12 + region


class Listed(NamedTuple):
    """A photo of a listing: an absolute path or a URI, and the state of its file."""

    uri: str
    file: FileState


class ImageRow(NamedTuple):
    """An image of a finished shard.

    Attributes
    ----------
    image : its number.
    uri, bytes, modified : as they were listed.
    replaces : the numbers that older states of this photo had.
    height, width, regions : of its record; zeros where there is none.
    offset, length, maps_length : where in records/part-N.bin its record is, and behind it its maps.
    error : why there is no record, None where there is one.
    """

    image: int
    uri: str
    bytes: int
    modified: int
    replaces: list[int]
    height: int = 0
    width: int = 0
    regions: int = 0
    offset: int = 0
    length: int = 0
    maps_length: int = 0
    error: str | None = None


class VectorRows(NamedTuple):
    """The regions of a shard: `keys`, `images` int64 (n,), `vectors` float32 (n, D) of length 1."""

    keys: NDArray[np.int64]
    images: NDArray[np.int64]
    vectors: NDArray[np.float32]


def image_numbers(shard: int, count: int) -> NDArray[np.int64]:
    """Return the numbers of the images of a shard, int64 (count,), ascending."""
    return (np.int64(shard) << POSITION_BITS) + np.arange(count, dtype=np.int64)


class DataSet:
    """An extraction, wherever its files are.

    Attributes
    ----------
    files : where it is.
    manifest : every option it is made with.
    """

    def __init__(self, address: str) -> None:
        """Open one.

        Raises
        ------
        InvalidIndexError : there is none, it is damaged, or of another version.
        """
        self.files = Files(address)
        self.manifest = _read_manifest(self.files)

    @property
    def address(self) -> str:
        """Where it is."""
        return self.files.address

    @property
    def dim(self) -> int:
        """D of its vectors."""
        return int(self.manifest["dim"])

    def basis_bytes(self) -> bytes | None:
        """Return what its records are coded by, None where they are not coded."""
        return None if self.manifest["basis"] is None else self.files.read(BASIS)

    def planned(self) -> list[int]:
        """Return the numbers of all shards."""
        return self.files.numbers("listing")

    def done(self) -> list[int]:
        """Return the numbers of the shards that are extracted."""
        return self.files.numbers("images")

    def is_done(self, shard: int) -> bool:
        """Whether a shard is extracted."""
        return self.files.exists(_name("images", shard))

    def listing(self, shard: int) -> list[ImageRow]:
        """Return the photos of a shard as they are listed."""
        return [ImageRow(**row) for row in self._table("listing", shard).to_pylist()]

    def images(self, shard: int, columns: Sequence[str] | None = None) -> Any:
        """Return the images of a finished shard, an Arrow table with the fields of `ImageRow`."""
        return self._table("images", shard, columns)

    def vectors(self, shard: int) -> VectorRows:
        """Return the vectors of a finished shard."""
        table = self._table("regions", shard, ["key", "image", "vector"])
        column = table["vector"].combine_chunks()
        flat = column.flatten().to_numpy(zero_copy_only=False)
        rows = flat.reshape(len(column), self.dim) if len(column) else flat.reshape(0, self.dim)
        return VectorRows(
            table["key"].to_numpy(),
            table["image"].to_numpy(),
            decode_vectors(rows) if rows.dtype == np.int8 else rows.astype(np.float32, copy=False),
        )

    def removed(self, first: int = 0, end: int | None = None) -> NDArray[np.int64]:
        """Return the numbers of removed images, int64 (n,), of some or all removals."""
        numbers = self.files.numbers("removed")[first:end]
        found = [self._table("removed", number)["image"].to_numpy() for number in numbers]
        return np.concatenate([np.empty(0, np.int64), *found])

    def next_shard(self) -> int:
        """Return the number of the next shard to be listed."""
        return max([-1, *self.planned(), *self.done()]) + 1

    def add_listing(
        self, shard: int, photos: Sequence[Listed], replaces: Sequence[list[int]]
    ) -> None:
        """List a new shard of at most 2^20 photos; `replaces` are their older numbers."""
        pa = import_pyarrow()
        columns = {
            "image": image_numbers(shard, len(photos)),
            "uri": [photo.uri for photo in photos],
            "bytes": pa.array([photo.file[0] for photo in photos], pa.int64()),
            "modified": pa.array([photo.file[1] for photo in photos], pa.int64()),
            "replaces": pa.array(replaces, pa.list_(pa.int64())),
        }
        self._write("listing", shard, pa.table(columns))

    def add_removed(self, images: Sequence[int]) -> int:
        """Note that images are removed; return how many removals there are now."""
        number = max([-1, *self.files.numbers("removed")]) + 1
        pa = import_pyarrow()
        self._write("removed", number, pa.table({"image": pa.array(images, pa.int64())}))
        return number + 1

    def write_shard(
        self, shard: int, photos: Sequence[ImageRow], records: Sequence[ImageRecord | str]
    ) -> list[ImageRow]:
        """Write what became of a shard's photos; it is done once this returns.

        Parameters
        ----------
        shard : its number.
        photos : as listed.
        records : of each, or why there is none.

        Raises
        ------
        ValueError : vectors of another length than the data set's.
        OSError : the disk is full; then the shard is not done.
        """
        rows, blobs = self._rows(photos, records)
        self.files.write(_name("records", shard, "bin"), b"".join(blobs))
        self._write("regions", shard, self._regions(rows, records))
        self._write("images", shard, _table_of(rows))
        return rows

    def _rows(
        self, photos: Sequence[ImageRow], records: Sequence[ImageRecord | str]
    ) -> tuple[list[ImageRow], list[bytes]]:
        rows, blobs, offset = list[ImageRow](), list[bytes](), 0
        for photo, record in zip(photos, records, strict=True):
            if isinstance(record, str):
                rows.append(photo._replace(error=record))
                continue
            if record.vectors.shape[1:] != (self.dim,):
                its = record.vectors.shape
                raise ValueError(f"{photo.uri}: vectors must be (R, {self.dim}), got {its}")
            if len(record) >> REGION_BITS:
                most = (1 << REGION_BITS) - 1
                rows.append(photo._replace(error=f"{len(record)} regions, of at most {most}"))
                continue
            head = record.without_maps().to_bytes()
            maps = maps_to_bytes(record.maps) if record.maps else b""
            height, width = record.regions.image_size
            rows.append(
                photo._replace(
                    height=height,
                    width=width,
                    regions=len(record),
                    offset=offset,
                    length=len(head),
                    maps_length=len(maps),
                )
            )
            blobs += [head, maps]
            offset += len(head) + len(maps)
        return rows, blobs

    def _regions(self, rows: Sequence[ImageRow], records: Sequence[ImageRecord | str]) -> Any:
        pa = import_pyarrow()
        pairs = [
            (row.image, record)
            for row, record in zip(rows, records, strict=True)
            if not isinstance(record, str) and row.error is None
        ]
        counts = [len(record) for _, record in pairs]
        number = np.concatenate([np.empty(0, np.int64), *map(np.arange, counts)])
        images = np.repeat(np.array([image for image, _ in pairs], np.int64), counts)
        coded = all(record.vectors.dtype == np.int8 for _, record in pairs)
        vectors = [record.vectors if coded else record.unit_vectors for _, record in pairs]
        columns = {
            "key": (images << REGION_BITS) + number,
            "image": images,
            "region": number.astype(np.int16),
            "level": _joined([r.regions.level for _, r in pairs], np.int16),
            "size": _joined([r.regions.size for _, r in pairs], np.float32),
            "connectivity": _joined([r.regions.connectivity for _, r in pairs], np.float32),
            "dominance": _joined([r.regions.dominance for _, r in pairs], np.float32),
        }
        table = {name: pa.array(values) for name, values in columns.items()}
        boxes = _joined([r.regions.boxes.ravel() for _, r in pairs], np.float32)
        flat = _joined([v.ravel() for v in vectors], np.int8 if coded else np.float32)
        table["box"] = pa.FixedSizeListArray.from_arrays(pa.array(boxes), 4)
        table["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), self.dim)
        return pa.table(table)

    def _table(self, folder: str, part: int, columns: Sequence[str] | None = None) -> Any:
        name = _name(folder, part)
        kinds = _columns(folder, self.dim)
        return read_parquet(
            self.files.read(name),
            kinds if columns is None else {column: kinds[column] for column in columns},
            self.files.shown(name),
            nullable=["error"],
        )

    def _write(self, folder: str, part: int, table: Any) -> None:
        self.files.write(_name(folder, part), parquet_bytes(table))


def _columns(folder: str, dim: int) -> dict[str, Kind]:
    """Return what is read of each kind of file: the columns, and their types."""
    types = import_pyarrow().types

    def numbers(kind: Any) -> bool:
        return bool(types.is_list(kind) and types.is_int64(kind.value_type))

    def vectors(kind: Any) -> bool:
        sized = types.is_fixed_size_list(kind) and kind.list_size == dim
        return bool(sized and (types.is_int8(kind.value_type) or types.is_float32(kind.value_type)))

    special = {"uri": types.is_string, "error": types.is_string}
    special |= {"replaces": numbers, "vector": vectors}
    names: dict[str, Sequence[str]] = {
        "listing": ("image", "uri", "bytes", "modified", "replaces"),
        "images": ImageRow._fields,
        "regions": ("key", "image", "vector"),
        "removed": ("image",),
    }
    return {name: special.get(name, types.is_int64) for name in names[folder]}


def _joined(parts: Iterable[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts], dtype=dtype, casting="unsafe")


def _table_of(rows: Sequence[ImageRow]) -> Any:
    pa = import_pyarrow()
    numbers = dict.fromkeys(ImageRow._fields, pa.int64())
    kinds = {**numbers, "uri": pa.string(), "error": pa.string(), "replaces": pa.list_(pa.int64())}
    return pa.table(
        {name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in kinds.items()}
    )


def _name(folder: str, part: int, suffix: str = "parquet") -> str:
    return f"{folder}/part-{part}.{suffix}"


def _read_manifest(files: Files) -> dict[str, Any]:
    where = files.shown(MANIFEST)
    try:
        content = json.loads(files.read(MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidIndexError(f"{files.shown()} is no data set: it has no {MANIFEST}") from None
    except ValueError as error:
        raise InvalidIndexError(f"{where} is damaged: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InvalidIndexError(f"{where} is not the manifest of a data set")
    if content.get("version") != VERSION:
        version = content.get("version")
        raise InvalidIndexError(f"{where} has version {version}; this release reads {VERSION}")
    return content
