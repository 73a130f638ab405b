"""What tests of an index's basis share: how an index is to be with one, and harm to its photos."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from claid_ext.vectors import decode_vectors
from PIL import Image

CHANNELS = (40, 48)
DIM = sum(CHANNELS)
LEAST, MOST = 6, 8  # photos for a basis, instead of 50 and 256


def state(index):
    return index.store.get("basis fingerprint"), index.store.get("basis photos")


def content(index, stored):
    """All that is stored of an index, to compare two by."""
    return {
        Path(path).name: (
            record.vectors.dtype.str, record.vectors.tobytes(), record.regions.boxes.tobytes(),
            [(one.layer, one.values.dtype.str, one.values.tobytes(), one.cell) for one in maps],
        )
        for path, (record, maps) in stored(index).items()
    }  # fmt: skip


def check_plain(index, stored):
    assert index.basis is None
    assert state(index) == (None, 0)
    assert index.dim == DIM
    for record, maps in stored(index).values():
        assert record.vectors.dtype == np.float32
        assert record.vectors.shape == (len(record), DIM)
        for one, channels in zip(maps, CHANNELS, strict=True):
            assert (one.values.dtype, one.values.shape[2]) == (np.float16, channels)


def check_coded(index, stored, photos, dim=DIM, images=None):
    """Every photo is coded by the basis that the index names, as describing it afresh has it."""
    assert state(index) == (index.basis.fingerprint, photos)
    assert index.dim == index.basis.vector_dim == dim
    kept = stored(index)
    assert images is None or sorted(kept) == sorted(images)
    fresh = index._networks.describer(index.basis)
    for path, (record, maps) in kept.items():
        assert record.vectors.dtype == np.int8
        assert record.vectors.shape == (len(record), dim)
        (wanted,) = fresh([path])
        # Cells went through float16 where they were stored whole.
        cosines = (decode_vectors(record.vectors) * decode_vectors(wanted.vectors)).sum(axis=1)
        assert cosines.min() > 0.999
        for one, other in zip(maps, wanted.maps, strict=True):
            assert one.values.dtype == np.uint8
            assert one.values.shape == (*other.values.shape[:2], 16)
            assert one.cell == other.cell
            assert (one.values == other.values).mean() > 0.98


def gone(path):
    Path(path).unlink()


def changed(path):
    """Another photo of the same size in its place."""
    with Image.open(path) as image:
        flipped = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped.save(path)
    os.utime(path, ns=(1, 1))


def larger(path):
    Image.new("RGB", (100, 100)).save(path)


def broken(path):
    Path(path).write_bytes(b"\x89PNG")
