"""`RegionTree`: a small frozen store that turns into masks, boxes, COCO and files."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claid_ext import RegionTree, reference


@pytest.fixture(scope="module")
def tree(make_features: Callable[..., Any]) -> RegionTree:
    found = reference.detect(make_features("blobs", 5, 24, 30, 32), (24, 30), min_patches=4)
    assert isinstance(found, RegionTree)
    assert 0 < len(found.kept) < len(found)
    return found


@pytest.fixture(scope="module")
def empty() -> RegionTree:
    found = reference.detect(np.ones((1, 3), np.float32), (1, 1))
    assert isinstance(found, RegionTree)
    return found


def changed(tree: RegionTree, **fields: Any) -> RegionTree:
    return dataclasses.replace(tree, **fields)


def test_structure(tree: RegionTree) -> None:
    numbers = np.arange(len(tree))
    assert (tree.parent < numbers).all()
    roots = tree.parent == -1
    np.testing.assert_array_equal(tree.level[roots], 1)
    np.testing.assert_array_equal(tree.level[~roots], tree.level[tree.parent[~roots]] + 1)
    assert (np.diff(tree.level) >= 0).all()
    for i in numbers:
        patches = tree.patches(i)
        assert len(patches) == tree.size[i]
        assert (np.diff(patches.astype(int)) > 0).all()
        if tree.parent[i] >= 0:
            assert set(patches.tolist()) < set(tree.patches(tree.parent[i]).tolist())
    families = [tree.children(i).tolist() for i in range(-1, len(tree))]
    assert sorted(itertools.chain(*families)) == numbers.tolist()
    assert tree.children(-1).tolist() == np.flatnonzero(roots).tolist()
    assert tree.children(int(tree.parent[-1])).tolist()[-1] == len(tree) - 1
    np.testing.assert_array_equal(tree.kept, np.flatnonzero(~tree.dummy))
    assert tree.kept.dtype == np.int64


def test_masks(tree: RegionTree) -> None:
    masks = tree.masks()
    assert masks.shape == (len(tree), 24, 30)
    assert masks.dtype == bool
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(np.flatnonzero(mask), tree.patches(i))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert tree.boxes[i].tolist() == box


@pytest.mark.parametrize("number", [int, np.int32, np.int64])
def test_masks_of_some(tree: RegionTree, number: Callable[[int], Any]) -> None:
    masks = tree.masks()
    np.testing.assert_array_equal(tree.masks(tree.kept), masks[tree.kept], strict=True)
    np.testing.assert_array_equal(tree.masks([2, 0, 2]), masks[[2, 0, 2]], strict=True)
    np.testing.assert_array_equal(tree.masks(~tree.dummy), masks[~tree.dummy], strict=True)
    np.testing.assert_array_equal(tree.masks(slice(1, 3)), masks[1:3], strict=True)
    np.testing.assert_array_equal(tree.masks(number(1)), masks[1], strict=True)
    np.testing.assert_array_equal(tree.masks(number(-1)), masks[-1], strict=True)
    assert tree.masks([]).shape == (0, 24, 30)
    assert tree.masks(number(0)).flags.writeable


def test_masks_on_a_torch_device(tree: RegionTree) -> None:
    torch = pytest.importorskip("torch")
    masks = tree.masks(tree.kept, device="cpu")
    assert masks.dtype == torch.bool
    np.testing.assert_array_equal(masks.numpy(), tree.masks(tree.kept), strict=True)
    assert tree.masks(0, device=torch.device("cpu")).shape == (24, 30)


def test_no_such_region(tree: RegionTree) -> None:
    for wrong in (len(tree), -len(tree) - 1):
        with pytest.raises(IndexError):
            tree.masks(wrong)
        with pytest.raises(IndexError, match="region"):
            tree.patches(wrong)
        with pytest.raises(IndexError, match="region"):
            tree.children(wrong)


def test_pixel_boxes(tree: RegionTree) -> None:
    boxes = tree.pixel_boxes((240.0, 375))
    assert boxes.dtype == np.float64
    np.testing.assert_array_equal(boxes, tree.boxes * [12.5, 10, 12.5, 10])


@pytest.mark.parametrize("wrong", [(0, 5), (5, -1), (5, np.nan), (5,), (5, 5, 5), 5, (5, np.inf)])
def test_wrong_sizes(tree: RegionTree, wrong: Any) -> None:
    with pytest.raises(ValueError, match="image_size must be"):
        tree.pixel_boxes(wrong)
    with pytest.raises(ValueError, match="image_size must be"):
        tree.to_coco(wrong)
    with pytest.raises(ValueError, match="covered must be"):
        tree.to_coco((100, 100), covered=wrong)


def test_coco_wants_whole_pixels(tree: RegionTree) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        tree.to_coco((100.5, 100))  # type: ignore[arg-type]


SIZES = [
    ((24, 30), None),
    ((240, 300), None),
    ((361, 479), None),
    ((100, 133), (97.3, 120.5)),
    ((500, 333), (500.0, 320.0)),
    ((10, 13), None),
    ((1, 1), None),
    ((50, 60), (70.0, 90.0)),
]


@pytest.mark.parametrize(("size", "covered"), SIZES)
def test_coco_masks_are_the_nearest_patches(tree: RegionTree, size: Any, covered: Any) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    (height, width), (covered_height, covered_width) = size, covered or size
    row = np.floor((np.arange(height) + 0.5) * 24 / covered_height).astype(int)
    column = np.floor((np.arange(width) + 0.5) * 30 / covered_width).astype(int)
    found = tree.to_coco(size, covered=covered, kept_only=False)
    assert len(found) == len(tree)
    for mask, annotation in zip(tree.masks(), found, strict=True):
        wanted = np.zeros(size, bool)
        wanted[np.ix_(row < 24, column < 30)] = mask[row[row < 24]][:, column[column < 30]]
        decoded = coco.decode(annotation["segmentation"])
        np.testing.assert_array_equal(decoded, wanted)
        # Not only readable by pycocotools, but what it would have written.
        encoded = coco.encode(np.asfortranarray(decoded))
        assert encoded["counts"].decode() == annotation["segmentation"]["counts"]
        assert annotation["area"] == wanted.sum()
        if height >= 24 and width >= 30 and covered is None:
            assert coco.toBbox(encoded).tolist() == annotation["bbox"]


def test_coco_fields(tree: RegionTree) -> None:
    found = tree.to_coco((240, 300), image_id=7, category_id=3, first_annotation_id=100)
    assert [a["region"] for a in found] == tree.kept.tolist()
    assert [a["id"] for a in found] == list(range(100, 100 + len(found)))
    assert json.loads(json.dumps(found)) == found
    for annotation in found:
        i = annotation["region"]
        x0, y0, x1, y1 = (10 * tree.boxes[i]).tolist()
        assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
        assert annotation["area"] == 100 * tree.size[i]
        assert (annotation["image_id"], annotation["category_id"]) == (7, 3)
        assert annotation["segmentation"]["size"] == [240, 300]
        assert annotation["iscrowd"] == 0
        assert annotation["level"] == tree.level[i]
        assert annotation["parent"] == tree.parent[i]
        assert annotation["connectivity"] == tree.connectivity[i]
        assert annotation["dominance"] == tree.dominance[i]
    assert len(tree.to_coco((240, 300), kept_only=False)) == len(tree)


def test_frozen(tree: RegionTree) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tree.cuts = 3  # type: ignore[misc]
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        if isinstance(value, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                value[...] = 0
    with pytest.raises(ValueError, match="read-only"):
        tree.patches(0)[0] = 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(tree)


def test_the_callers_arrays_stay_writeable(tree: RegionTree) -> None:
    mine = tree.level.copy()
    assert changed(tree, level=mine) == tree
    mine[0] = 1


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_copies(tree: RegionTree, empty: RegionTree, clone: Callable[[Any], Any]) -> None:
    for original in (tree, empty):
        other = clone(original)
        assert other == original
        assert not other.members.flags.writeable


def test_equality_is_of_every_field(tree: RegionTree) -> None:
    assert tree == changed(tree)
    assert tree != "tree"
    assert tree != changed(tree, cuts=tree.cuts + 1)
    assert tree != changed(tree, moves=tree.moves + 1)
    assert tree != changed(tree, grid=(30, 24))
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        if isinstance(value, np.ndarray):
            other = value.copy()
            last = (-1,) * other.ndim
            other[last] = ~other[last] if other.dtype == bool else other[last] + 1
            assert tree != changed(tree, **{field.name: other}), field.name
    nearly = tree.connectivity.copy()
    nearly[0] = np.nextafter(nearly[0], 2)
    assert tree != changed(tree, connectivity=nearly)


def test_an_empty_tree(empty: RegionTree, tmp_path: Path) -> None:
    assert len(empty) == 0
    assert (empty.cuts, empty.moves) == (0, 0)
    assert empty.masks().shape == (0, 1, 1)
    assert empty.pixel_boxes((8, 8)).shape == (0, 4)
    assert empty.to_coco((8, 8)) == []
    assert empty.children(-1).shape == empty.kept.shape == (0,)
    empty.save(tmp_path / "empty.npz")
    assert RegionTree.load(tmp_path / "empty.npz") == empty


def test_repr(tree: RegionTree, empty: RegionTree) -> None:
    assert f"{len(tree)} regions, {len(tree.kept)} kept" in repr(tree)
    assert "0 regions" in repr(empty)


def test_memory_is_of_the_patches_not_of_masks(tree: RegionTree) -> None:
    stored = sum(
        getattr(tree, f.name).nbytes
        for f in dataclasses.fields(tree)
        if isinstance(getattr(tree, f.name), np.ndarray)
    )
    assert stored <= 2 * int(tree.size.sum()) + 64 * (len(tree) + 1)


def test_save_and_load(tree: RegionTree, tmp_path: Path) -> None:
    path = tmp_path / "a tree"  # no suffix: the name is kept as it is
    path.write_text("an older file")
    tree.save(path)
    tree.save(str(path))
    assert RegionTree.load(path) == RegionTree.load(str(path)) == tree
    assert [p.name for p in tmp_path.iterdir()] == ["a tree"]
    beside = tmp_path / "beside"
    beside.touch()
    assert path.stat().st_mode == beside.stat().st_mode


def test_a_failed_save_leaves_the_old_file(
    tree: RegionTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tree.npz"
    tree.save(path)

    def full_disk(file: Any, **content: Any) -> None:
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="no space left"):
        changed(tree, cuts=99).save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["tree.npz"]
    assert RegionTree.load(path) == tree


def test_load_refuses_what_is_no_tree(tree: RegionTree, tmp_path: Path) -> None:
    path = tmp_path / "tree.npz"
    with pytest.raises(FileNotFoundError):
        RegionTree.load(path)

    def refused(match: str) -> None:
        with pytest.raises(ValueError, match=match) as error:
            RegionTree.load(path)
        assert str(path) in str(error.value)

    for content in (b"", b"not an npz", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        refused("no readable npz")
    np.save(path.with_suffix(".npy"), np.arange(3))
    path.with_suffix(".npy").rename(path)
    refused("no readable npz")
    np.savez(path, a=np.arange(3))
    refused("not one of a claid_ext.RegionTree")
    tree.save(path)
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        refused("no readable npz")
    path.write_bytes(whole)
    with np.load(path) as file:
        fields = dict(file)
    np.savez(path, **{**fields, "format_version": np.array(2)})
    refused("format version 2; this release reads 1")
    np.savez(path, **{k: v for k, v in fields.items() if k != "level"})
    refused("without level")
    for name, value, why in [
        ("level", fields["level"][:-1], "level has shape"),
        ("boxes", fields["boxes"][:, :3], "boxes has shape"),
        ("members", fields["members"][:-1], "offsets, size and members"),
        ("parent", fields["parent"] + len(tree), "parent does not come before"),
        ("grid", np.array([2, 3]), "outside the grid"),
    ]:
        np.savez(path, **{**fields, name: value})
        refused(why)
