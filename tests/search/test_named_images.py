"""Images that are no files, from the real data set libraries, in the detector and in an index."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("faiss")
from claid_ext import Detector, InstanceIndex, named_images  # noqa: E402
from claid_ext.errors import UnreadableImageError  # noqa: E402
from claid_ext.images import as_image  # noqa: E402
from claid_ext.regions import region_source  # noqa: E402
from claid_ext.search import Query, fitting, report  # noqa: E402
from PIL import Image  # noqa: E402


def pictures(count, first=0):
    """Pictures of blobs, each of other ones."""
    made = []
    for seed in range(first, first + count):
        small = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
        made.append(Image.fromarray(small).resize((96, 64), Image.Resampling.BICUBIC))
    return made


class Labelled(torch.utils.data.Dataset):
    """A data set as torchvision's are; it does not say where it ends but by its length."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        return self.images[number % len(self.images)], 7


class Tensors(Labelled):
    def __getitem__(self, number):
        pixels = torch.from_numpy(np.array(self.images[number])).permute(2, 0, 1)
        return pixels.float() / 255, 7


def same(pairs, images, names):
    pairs = list(pairs)
    assert [name for name, _ in pairs] == names
    for (_, image), wanted in zip(pairs, images, strict=True):
        np.testing.assert_array_equal(np.asarray(as_image(image)), np.asarray(wanted))


def numbers(count, prefix="x/"):
    return [f"{prefix}{number}" for number in range(count)]


def test_torch():
    images = pictures(5)
    loader = torch.utils.data.DataLoader
    same(named_images(Labelled(images), "x/"), images, numbers(5))
    same(named_images(loader(Labelled(images), batch_size=2, collate_fn=list), "x/"),
         images, numbers(5))  # fmt: skip
    same(named_images(loader(Labelled(images), batch_size=None), "x/"), images, numbers(5))
    same(named_images(loader(Tensors(images), batch_size=2), "x/"), images, numbers(5))
    with_keys = [{"image": one, "label": 1} for one, _ in Tensors(images)]
    same(named_images(loader(with_keys, batch_size=3), "x/"), images, numbers(5))


def test_hugging_face():
    datasets = pytest.importorskip("datasets")
    images = pictures(4)
    rows = {"image": images, "label": [0, 1, 2, 3]}
    made = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    same(named_images(made["image"], "x/"), images, numbers(4))
    same(named_images(made, "x/"), images, numbers(4))
    same(named_images(made.rename_column("image", "photo"), "x/", image="photo"),
         images, numbers(4))  # fmt: skip
    same(named_images(made.to_iterable_dataset(), "x/"), images, numbers(4))
    same(named_images(made.iter(batch_size=3), "x/"), images, numbers(4))


@pytest.mark.filterwarnings(  # webdataset's own: it leaves its files open
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
def test_webdataset(tmp_path):
    wds = pytest.importorskip("webdataset")
    images = pictures(3)
    with wds.TarWriter(str(tmp_path / "a.tar")) as tar:
        for number, image in enumerate(images):
            file = io.BytesIO()
            image.save(file, format="PNG")
            tar.write({"__key__": f"k{number}", "png": file.getvalue(), "cls": 3})
    made = wds.WebDataset(f"file:{tmp_path / 'a.tar'}", shardshuffle=False).decode("pil")
    names = ["x/k0", "x/k1", "x/k2"]
    same(named_images(made, "x/"), images, names)
    same(named_images(made.to_tuple("__key__", "png"), "x/"), images, names)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (torch.zeros(4, 5), r"must be \(1 or 3, H, W\), got shape \(4, 5\)"),
        (torch.zeros(2, 4, 5), r"must be \(1 or 3, H, W\)"),
        (torch.full((3, 4, 5), -1.0), "must be from 0 to 1, before any normalisation"),
        (torch.full((3, 4, 5), float("nan")), "must be from 0 to 1"),
        (torch.zeros(3, 4, 5, dtype=torch.int64), "must be uint8"),
        (7, "must be a path, a PIL image"),
    ],
)
def test_what_is_no_image(two_stage, tmp_path, image, why):
    with pytest.raises((TypeError, ValueError), match=why):
        as_image(image)
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as index:
        done = index.add([("good", pictures(1)[0]), ("bad", image)])
        assert done.added == 1
        ((name, error),) = done.failed
        assert name == "data://bad"
        assert "data://bad: " in error
    with pytest.raises(ValueError, match=r"no photo in \['image'\]"):
        list(named_images([{"image": image}], image="photo"))


def test_grey_tensors():
    grey = torch.arange(20, dtype=torch.uint8).reshape(1, 4, 5)
    np.testing.assert_array_equal(np.asarray(as_image(grey))[:, :, 1], grey[0].numpy())


def patch_means(batch):
    return torch.nn.functional.avg_pool2d(batch, 8).flatten(2).transpose(1, 2)


def test_the_detector_streams_them():
    detector = Detector(patch_means, patch_size=8, tau=0.9, min_patches=4)
    images = pictures(3)
    wanted = detector(images)
    told = []
    items = [*images[:2], 7, images[2]]
    found = list(
        detector.stream(named_images(items, "x/"), on_error=lambda pair, _: told.append(pair))
    )
    assert [one.path for one in found] == ["x/0", "x/1", "x/3"]
    assert told == [("x/2", 7)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
    assert [one.path for one in detector(list(named_images(images, "y/")))] == numbers(3, "y/")
    source = region_source("detect", detector, (1.0, 1.5))
    streamed = source.stream(named_images(images, "x/"), on_error=lambda *_: None)
    assert [its[0].path for its in streamed] == numbers(3)


def test_an_index_of_them(two_stage, tmp_path, monkeypatch):
    images = pictures(6)
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as index:
        done = index.add(named_images(Labelled(images), "set/"), batch_size=4)
        assert (done.added, done.present, done.failed) == (6, 0, [])
        assert index.images == numbers(6, "data://set/")
        monkeypatch.chdir(tmp_path)  # a name depends on no folder
        done = index.add(named_images(Labelled(images), "set/"))
        assert (done.added, done.present) == (0, 6)
        images[2] = pictures(1, first=50)[0]
        done = index.add(named_images(Labelled(images), "set/"))
        assert (done.added, done.present) == (1, 5)
        assert len(index) == 6
        query = Query(images[2], (10, 10, 60, 50))
        (hits,) = index.search(query, 3)
        assert hits[0].image == "data://set/2"
        assert "data://set/2" in index
        (two,) = index.search(query, 9, images=["data://set/1", "data://set/2"])
        assert len(two) == 2
        report.contact_sheet(query, hits)  # grey tiles
        index.remove("data://set/2")
        assert "data://set/2" not in index
        with pytest.raises(KeyError):
            index.remove("data://set/2")
        assert index.add([("s3://bucket/a.jpg", images[0])]).added == 1
        assert "s3://bucket/a.jpg" in index
        with pytest.raises(TypeError, match="must all be paths, or all"):
            index.add([("a", images[0]), "b.png"])


def files(folder, images):
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        image.save(path)
    return paths


def test_they_get_a_basis_as_files_do(two_stage, tmp_path, stored, monkeypatch):
    """A stream of unknown length, of photos enough: as if they had been files; but no refit."""
    monkeypatch.setattr(fitting, "LEAST_PHOTOS", 8)
    monkeypatch.setattr(fitting, "BASIS_PHOTOS", 10)
    images = pictures(14)
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as index:
        assert index.add(iter(list(named_images(images)))).added == 14
        assert index.basis is not None
        assert fitting.frozen_basis(index.store).photos == 10
        with pytest.raises(UnreadableImageError, match="data://0 was added by a name, not as a"):
            index.refit()
        (hits,) = index.search((images[12], (10, 10, 60, 50)), 3)
        assert hits[0].image == "data://12"
        named = stored(index)
    paths = files(tmp_path / "photos", images)
    with InstanceIndex.create(tmp_path / "f", descriptor=two_stage, regions="grid") as index:
        index.add(paths[:10])
        index.add(paths[10:])
        for number, path in enumerate(map(str, paths)):
            record, maps = stored(index)[path]
            other, others = named[f"data://{number}"]
            np.testing.assert_array_equal(record.vectors, other.vectors)
            for one, two in zip(maps, others, strict=True):
                np.testing.assert_array_equal(one.values, two.values)


def test_few_of_them_and_files_later(two_stage, tmp_path, monkeypatch):
    """Whole cells are kept while an index is small, so a basis can still be fitted."""
    monkeypatch.setattr(fitting, "LEAST_PHOTOS", 8)
    paths = files(tmp_path / "photos", pictures(5, first=20))
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as index:
        assert index.add(named_images(pictures(5))).added == 5
        assert index.basis is None
        assert index.add(paths).added == 5
        assert index.basis is not None
        assert sorted(index.images) == sorted([*numbers(5, "data://"), *map(str, paths)])
        assert Path(index.images[-1]).is_file()
