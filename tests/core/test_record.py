"""Records to bytes and back: nothing is lost, and nothing that was changed is taken for a record.

`python tests/core/test_record.py` writes the record on file anew; do so only when the format gets
another version.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from claid_ext.blocks import pack, unpack
from claid_ext.errors import DamagedRecordError
from claid_ext.record import (
    CellMap,
    ImageRecord,
    check_record,
    check_vectors,
    maps_from_bytes,
    maps_to_bytes,
)
from claid_ext.regions.value import Regions
from hypothesis import given, settings
from hypothesis import strategies as st

GOLDEN = Path(__file__).with_name("golden") / "record.bin"
COLUMNS = ("boxes", "level", "size", "connectivity", "dominance")
VERSION_AT = 4  # where a record's version is


def example(order="<"):
    """The record on file: each kind of array once, made in a byte order."""

    def floats(*values):
        return np.array(values, f"{order}f4")

    regions = Regions(
        image_size=(480, 640),
        boxes=floats([0, 0, 640, 480], [1.5, 2.25, 300, 200], [7, 8, 9, 10]),
        level=np.array([0, 1, 7], f"{order}i4"),
        size=floats(307200, 50000.5, 4),
        connectivity=floats(0.97, np.nan, -0.0),
        dominance=floats(0.25, np.nan, 1),
    )
    maps = (
        CellMap("blocks.4", np.arange(24, dtype=np.uint8).reshape(2, 3, 4), (16.0, 16.5)),
        CellMap("blocks.6", np.array([[[1, -0.5]]], f"{order}f2"), (32.0, 1 / 3)),
    )
    return ImageRecord(regions, floats([0.6, -0.8], [1, 0], [0, 0]), maps)


@st.composite
def records(draw):
    """Records of any numbers of regions, dimensions and maps; their numbers are any bits."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, dim = draw(st.integers(0, 5)), draw(st.integers(0, 9))

    def bits(dtype, *shape):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(rng.bytes(size), dtype).reshape(shape)

    regions = Regions(
        image_size=(draw(st.integers(1, 2**40)), draw(st.integers(1, 2**40))),
        boxes=bits("<f4", count, 4),
        level=bits("<i4", count),
        size=bits("<f4", count),
        connectivity=np.full(count, np.nan, np.float32)
        if draw(st.booleans())
        else bits("f4", count),
        dominance=bits("<f4", count),
    )
    vectors = bits(draw(st.sampled_from(["f4", "i1"])), count, dim)
    layers = draw(st.lists(st.text("ab. 4", max_size=6), unique=True, max_size=3))
    sides = st.integers(0, 4)
    maps = tuple(
        CellMap(
            layer,
            bits(draw(st.sampled_from(["u1", "f2"])), draw(sides), draw(sides), draw(sides)),
            (draw(st.floats(allow_nan=False)), draw(st.floats(allow_nan=False))),
        )
        for layer in layers
    )
    return ImageRecord(regions, vectors, maps)


def assert_same(one, other):
    assert one.regions.image_size == other.regions.image_size
    arrays = [(getattr(one.regions, name), getattr(other.regions, name)) for name in COLUMNS]
    arrays.append((one.vectors, other.vectors))
    assert len(one.maps) == len(other.maps)
    for its, others in zip(one.maps, other.maps, strict=True):
        assert (its.layer, its.cell) == (others.layer, others.cell)
        arrays.append((its.values, others.values))
    for a, b in arrays:
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


@settings(max_examples=150)
@given(record=records())
def test_a_record_comes_back_bit_by_bit(record):
    content = record.to_bytes()
    back = ImageRecord.from_bytes(content)
    assert_same(record, back)
    assert len(back) == len(record.regions)
    assert back.to_bytes() == content
    assert back.regions.masks is None
    plain = ImageRecord.from_bytes(record.without_maps().to_bytes())
    assert plain.maps == ()
    alone = maps_from_bytes(maps_to_bytes(record.maps))
    assert_same(record, ImageRecord(plain.regions, plain.vectors, alone))


@settings(max_examples=150)
@given(record=records(), data=st.data())
def test_a_changed_record_is_damaged(record, data):
    content = bytearray(record.to_bytes())
    place = data.draw(st.integers(0, 8 * len(content) - 1), "bit")
    length = data.draw(st.integers(0, len(content) - 1), "length")
    more = data.draw(st.binary(min_size=1, max_size=20), "more")
    wrong = [bytes(content[:length]), bytes(content) + more, more + bytes(content)]
    content[place // 8] ^= 1 << place % 8
    for changed in (bytes(content), *wrong):
        with pytest.raises(DamagedRecordError, match="my record is damaged"):
            ImageRecord.from_bytes(changed, "my record")


def test_no_bit_nor_length_of_a_record_can_change_unnoticed():
    record = example()
    for content, read in [
        (record.to_bytes(), ImageRecord.from_bytes),
        (maps_to_bytes(record.maps), maps_from_bytes),
    ]:
        read(content)
        for place in range(8 * len(content)):
            changed = bytearray(content)
            changed[place // 8] ^= 1 << place % 8
            with pytest.raises(DamagedRecordError):
                read(bytes(changed))
        for length in range(len(content)):
            with pytest.raises(DamagedRecordError):
                read(content[:length])


def test_the_bytes_are_those_on_file():
    """On a machine of either byte order, from arrays of either."""
    wanted = GOLDEN.read_bytes()
    assert example("<").to_bytes() == wanted
    assert example(">").to_bytes() == wanted
    assert_same(ImageRecord.from_bytes(wanted), example())


def test_the_bytes_are_as_written_down():
    """The format, put together by hand: little-endian, each block after the other."""
    content = struct.pack("<4sHH", b"ABCD", 513, 2)
    content += b"\x01x" + struct.pack("<BBII2f", 0, 2, 1, 2, 1.5, -2)
    content += b"\x02yz" + struct.pack("<BBI3q", 4, 1, 3, 1, -1, 2**40)
    content += hashlib.blake2b(content, digest_size=16).digest()
    arrays = {"x": np.array([[1.5, -2]], np.float32), "yz": np.array([1, -1, 2**40], np.int64)}
    assert pack(b"ABCD", 513, arrays) == content
    back = unpack(b"ABCD", range(513, 514), content, "it")
    assert list(back) == ["x", "yz"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert not back[name].flags.writeable
    not_contiguous = np.array([[1, 0, -1, 0, 2**40, 0]]).T[::2, 0]
    assert pack(b"ABCD", 513, {**arrays, "yz": not_contiguous}) == content


def resealed(content):
    """The same with the checksum that fits: what a writer with a mistake would leave."""
    body = content[:-16]
    return body + hashlib.blake2b(body, digest_size=16).digest()


def test_other_versions_and_other_things_are_named():
    content = bytearray(example().to_bytes())
    content[VERSION_AT : VERSION_AT + 2] = struct.pack("<H", 2)
    with pytest.raises(DamagedRecordError, match="my record has version 2; this release reads 1"):
        ImageRecord.from_bytes(resealed(bytes(content)), "my record")
    content[VERSION_AT : VERSION_AT + 2] = struct.pack("<H", 0)
    with pytest.raises(DamagedRecordError, match="version 0"):
        ImageRecord.from_bytes(resealed(bytes(content)))
    maps = maps_to_bytes(example().maps)
    for other in (b"", b"\x89PNG\r\n\x1a\n" * 9, maps, resealed(b"CREX" + bytes(content[4:]))):
        with pytest.raises(DamagedRecordError, match="does not begin as one"):
            ImageRecord.from_bytes(other)
    with pytest.raises(DamagedRecordError, match="does not begin as one"):
        maps_from_bytes(example().to_bytes())


def blocks_of(record):
    return dict(unpack(b"CREC", range(1, 2), record.to_bytes(), "it"))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"level": None}, "level"),
        ({"vectors": None}, "vectors"),
        ({"image_size": None}, "image_size"),
        ({"cell blocks.4": None}, "cell blocks.4"),
        ({"image_size": np.array([480])}, "unpack"),
        ({"image_size": np.array([480, 0])}, "must have pixels"),
        ({"image_size": np.array([480.5, 3.0])}, "image_size must be"),
        ({"boxes": np.zeros((3, 5), np.float32)}, "boxes must be"),
        ({"boxes": np.zeros((2, 4), np.float32)}, "level has 3 of 2"),
        ({"boxes": np.zeros((3, 4), np.int32)}, "boxes must be float32"),
        ({"size": np.zeros(4, np.float32)}, "size has 4 of 3"),
        ({"size": np.zeros((3, 1), np.float32)}, "size must be"),
        ({"vectors": np.zeros((2, 2), np.float32)}, r"vectors must be \(3, D\)"),
        ({"vectors": np.zeros(3, np.float32)}, r"vectors must be \(3, D\)"),
        ({"vectors": np.zeros((3, 2), np.int64)}, "vectors must be float32 or int8"),
        ({"map blocks.4": np.zeros((3, 2), np.uint8)}, r"must be \(h, w, C\)"),
        ({"cell blocks.4": np.zeros(3)}, "unpack"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_damage(changed, why):
    """Bytes whose checksum is right: a writer of another kind, or with a mistake."""
    blocks = {**blocks_of(example()), **changed}
    content = pack(b"CREC", 1, {name: a for name, a in blocks.items() if a is not None})
    with pytest.raises(DamagedRecordError, match=f"it is damaged: .*{why}"):
        ImageRecord.from_bytes(content, "it")


def test_a_record_whose_parts_do_not_fit_is_never_written():
    """It could not be read again."""
    good = example()
    for wrong, why in [
        (ImageRecord(good.regions, good.vectors[:2]), r"vectors must be \(3, D\)"),
        (ImageRecord(good.regions, good.vectors.astype(np.float64)), "float32 or int8"),
        (ImageRecord(Regions.whole((0, 5)), good.vectors[:1]), "must have pixels"),
    ]:
        with pytest.raises(ValueError, match=why):
            check_record(wrong)
        with pytest.raises(ValueError, match=why):
            wrong.to_bytes()


def headed(count, body):
    content = struct.pack("<4sHH", b"ABCD", 1, count) + body
    return content + hashlib.blake2b(content, digest_size=16).digest()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (headed(1, b""), "index out of range"),
        (headed(1, b"\x01x"), "index out of range"),
        (headed(1, b"\x01x\x63\x00"), "index out of range"),
        (headed(1, b"\x01\xff\x00\x00" + bytes(4)), "ascii"),
        (headed(1, b"\x01x\x00\x02\x01\x00"), "buffer"),
        (headed(1, b"\x01x\x00\x01\x09\x00\x00\x00" + bytes(8)), "buffer"),
        (headed(1, b"\x01x\x06\x04" + struct.pack("<4I", *[2**31] * 2, 2, 2)), "too large"),
        (headed(0, b"x"), "1 bytes too many"),
        (headed(1, b"\x01x\x06\x00ab"), "1 bytes too many"),
    ],
)
def test_blocks_that_make_no_sense_are_damage(content, why):
    with pytest.raises(DamagedRecordError, match=f"it is damaged: .*{why}"):
        unpack(b"ABCD", range(1, 2), content, "it")


def test_what_cannot_be_packed_is_named():
    for array in (np.zeros(2, bool), np.zeros(2, np.complex64), np.array(["a"]), np.zeros(2, "M8")):
        with pytest.raises(
            TypeError, match=f"x must be of .*, got {array.dtype}".replace("[", r"\[")
        ):
            pack(b"ABCD", 1, {"x": array})
    for name in ("x" * 256, "ü"):
        with pytest.raises(ValueError, match="must be ASCII, at most 255 characters"):
            pack(b"ABCD", 1, {name: np.zeros(1)})


def test_codes_become_unit_vectors():
    codes = np.array([[3, -4, 0], [0, 0, 0], [-128, 127, 1]], np.int8)
    regions = Regions.of_boxes((9, 9), [[0, 0, 1, 1]] * 3)
    unit = ImageRecord(regions, codes).unit_vectors
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit[0], [0.6, -0.8, 0], atol=1e-7)
    assert not unit[1].any()
    wanted = codes[2] / np.linalg.norm(codes[2].astype(np.float64))
    np.testing.assert_allclose(unit[2], wanted, atol=1e-7)
    assert check_vectors("they", unit, 3, 3) is unit


if __name__ == "__main__":
    GOLDEN.write_bytes(example().to_bytes())
